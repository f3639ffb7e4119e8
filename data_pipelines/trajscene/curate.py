"""Curation: every record measured, the good ones copied to a new data set.

Runs in this process and its workers; `curate_beam` runs the same functions on
a cluster and gives the same files. `curation.jsonl` in the new directory has a
line for every record that was measured: its measures, whether it was kept and
which filters refused it. The manifest has, for every filter, the threshold,
the number of records that it refused and the histogram of its measure.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.trajscene import (
  captioning,
  curation_filters,
  curation_measures,
  progress,
  shards,
  workers,
)
from more4d_jax import errors
from more4d_jax.data import record_directory, records

LINES_FILE = "curation.jsonl"
_TASK = 16  # Records that a worker measures in one go.
_SHARD_BYTES = 512 << 20
_SHARD_RECORDS = 256


@dataclasses.dataclass(frozen=True)
class CurateOptions:
  """What to curate, and how strictly.

  Attributes:
    records: directory of the data set.
    out: directory of the new one.
    split: of the records, where there are several; the new one is `train`
      unless it is given.
    settings: changed thresholds, as `curation_filters.thresholds` takes them.
    captions: file of answers that become captions; see `captioning`.
    verdicts: file of answers that judge the captions; what it does not
      mention is refused.
    processes: None takes one per core.
    progress: whether to show how far it is.
  """

  records: str
  out: str
  split: str | None = None
  settings: tuple[str, ...] = ()
  captions: str | None = None
  verdicts: str | None = None
  processes: int | None = None
  progress: bool = True

  @property
  def new_split(self) -> str:
    """Name of the split that is written."""
    return self.split or "train"


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Numbers of a curation; `refused` counts records by filter."""

  count: int
  kept: int
  refused: dict[str, int]


def curate(options: CurateOptions) -> Outcome:
  """Measures, decides and copies what is not there yet.

  Raises:
    UserError: no records, unknown settings, a directory of something else, a
      full disk, a damaged record; or nothing would be kept.
  """
  limits, identity = begin(options)
  out = pathlib.Path(options.out)
  with shards.opened(out, identity) as parts:
    if parts is not None:
      lines = decided(_measured(parts, options), limits, options)
      layout = plan(lines, options)
      for path, places in layout:
        copy_shard(options, path, places)
      finish(options, lines, layout, limits, identity)
  return outcome(out)


def begin(
  options: CurateOptions,
) -> tuple[dict[str, float | None], dict[str, Any]]:
  """Thresholds, and what decides the files."""
  shards.check_split(options.new_split)
  limits = curation_filters.thresholds(options.settings)
  opened = record_directory.open_records(options.records, options.split)
  identity = {
    "curated": {
      "thresholds": [f"{name}={limit}" for name, limit in limits.items()],
      "records_digest": _digest(opened.directory / record_directory.INFO_FILE),
      "captions_digest": _digest(options.captions),
      "verdicts_digest": _digest(options.verdicts),
    },
    "split": options.new_split,
  }
  return limits, identity


def tasks(options: CurateOptions) -> list[tuple[int, int]]:
  """Ranges of records, each measured in one go."""
  count = len(record_directory.open_records(options.records, options.split))
  starts = range(0, count, _TASK)
  return [(start, min(start + _TASK, count)) for start in starts]


def measure_range(
  options: CurateOptions, start: int, stop: int
) -> list[dict[str, Any]]:
  """Measures of records, with their `id` and `index`."""
  opened = record_directory.open_records(options.records, options.split)
  lines = []
  for index in range(start, stop):
    record = opened[index].decode()
    measures = curation_measures.measure(record)
    lines.append({"id": record.id, "index": index, **measures})
  return lines


def decided(
  measured: Sequence[Mapping[str, Any]],
  limits: Mapping[str, float | None],
  options: CurateOptions,
) -> list[dict[str, Any]]:
  """The line of every record, in order."""
  copies = curation_filters.copies(measured, limits)
  verdict = verdicts(options)
  lines = [
    curation_filters.decide(
      line, limits, copies.get(line["id"]), verdict(line["id"])
    )
    for line in measured
  ]
  return sorted(lines, key=lambda line: line["index"])


def verdicts(options: CurateOptions) -> Any:
  """Function from id to why its caption is refused, None if it is kept."""
  if options.verdicts is None:
    return lambda name: None
  found = captioning.verdicts_in(options.verdicts)
  return lambda name: found.get(name, "no verdict")


def plan(
  lines: Sequence[Mapping[str, Any]], options: CurateOptions
) -> list[tuple[pathlib.Path, list[int]]]:
  """Files and the places of the records that go into each.

  Raises:
    UserError: nothing is kept.
  """
  kept = sorted(line["index"] for line in lines if line["kept"])
  if not kept:
    counted = outcome_of(lines).refused
    table = ", ".join(f"{name} {count}" for name, count in counted.items())
    raise errors.UserError(
      f"none of the {len(lines)} records would be kept ({table} refused); "
      f"change thresholds with --threshold NAME=NUMBER"
    )
  opened = record_directory.open_records(options.records, options.split)
  stored = sum(
    p.stat().st_size for p in opened.directory.glob("*array_record*")
  )
  mean = max(1, stored // len(opened))
  size = int(min(_SHARD_RECORDS, max(1, _SHARD_BYTES // mean)))
  groups = [kept[start : start + size] for start in range(0, len(kept), size)]
  names = record_directory.shard_paths(
    options.out, options.new_split, len(groups)
  )
  return list(zip(names, groups))


def copy_shard(
  options: CurateOptions, path: pathlib.Path, places: Sequence[int]
) -> None:
  """Writes records to a new shard as they are, but for new captions.

  A file that is there already is whole and stays.
  """
  if path.exists():
    return
  captions = {}
  if options.captions is not None:
    captions = captioning.captions_in(options.captions)
  opened = record_directory.open_records(options.records, options.split)

  def entries():
    for place in places:
      fields = opened[place].fields
      records.verify(fields)
      caption = captions.get(fields["id"].decode())
      if caption is not None:
        fields = records.with_caption(fields, caption)
      yield record_directory.serialise(fields)

  record_directory.write_shard(path, entries())


def finish(
  options: CurateOptions,
  lines: Sequence[Mapping[str, Any]],
  layout: Sequence[tuple[pathlib.Path, Sequence[int]]],
  limits: Mapping[str, float | None],
  identity: Mapping[str, Any],
) -> None:
  """Writes the lines, the metadata and, last, the manifest."""
  out = pathlib.Path(options.out)
  shards.write_file(out / LINES_FILE, curation_filters.as_lines(lines))
  made = outcome_of(lines)
  report = {
    "curation": {
      "looked_at": made.count,
      "kept": made.kept,
      "filters": curation_filters.summary(lines, limits),
    }
  }
  paths = [path for path, _ in layout]
  lengths = [len(places) for _, places in layout]
  shards.finish(out, options.new_split, paths, lengths, {**identity, **report})


def outcome(out: pathlib.Path) -> Outcome:
  """The numbers of a finished curation."""
  text = (out / LINES_FILE).read_text().splitlines()
  return outcome_of([json.loads(line) for line in text])


def outcome_of(lines: Sequence[Mapping[str, Any]]) -> Outcome:
  """Counts lines by what refused them."""
  names = (*curation_filters.FILTERS, curation_filters.VERDICT)
  refused = {
    name: sum(name in line["refused_by"] for line in lines) for name in names
  }
  return Outcome(
    count=len(lines),
    kept=sum(line["kept"] for line in lines),
    refused={name: count for name, count in refused.items() if count},
  )


def _measured(
  parts: pathlib.Path, options: CurateOptions
) -> list[dict[str, Any]]:
  """Measures of all records; those of an earlier run are taken over."""
  files = {
    (start, stop): parts / f"measured-{start:09d}.json"
    for start, stop in tasks(options)
  }
  missing = [
    (options, start, stop, os.fspath(file))
    for (start, stop), file in files.items()
    if not file.exists()
  ]
  done = len(files) - len(missing)
  with (
    progress.shown(
      len(files), done, unit=f"{_TASK} records", enabled=options.progress
    ) as advance,
    workers.run(_measure_part, missing, options.processes) as finished,
  ):
    for _ in finished:
      advance(1)
  return [
    line for file in files.values() for line in json.loads(file.read_bytes())
  ]


def _measure_part(
  options: CurateOptions, start: int, stop: int, file: str
) -> None:
  lines = measure_range(options, start, stop)
  shards.write_file(pathlib.Path(file), json.dumps(lines).encode())


def _digest(path: str | os.PathLike[str] | None) -> str:
  """Of a file's content; empty for none."""
  if path is None:
    return ""
  try:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
  except OSError as error:
    raise errors.UserError(
      f"{path} cannot be read ({error.strerror})"
    ) from error
