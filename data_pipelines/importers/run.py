"""Imports a source: scenes read in parallel, taken, mended or refused.

A unit (an archive, a file, a folder) is read by one worker. For every scene
of it the worker leaves its records as parts and an outcome, which says what
was taken, what was mended and why something was refused. Started again after
a kill, the import continues after the last whole outcome, and the final files
are those of an undisturbed run. `report.json` lies beside the manifest.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from data_pipelines.importers import conversion, kinds, report, source_files
from data_pipelines.importers import scene as scene_lib
from data_pipelines.trajscene import progress, shards, workers
from more4d_jax import errors
from more4d_jax.data import record_directory, records

REPORT_FILE = "report.json"
_SHARD_BYTES = 512 << 20
_SHARD_RECORDS = 256
# What damaged or malicious content makes parsers raise; a fault of the disk
# is an OSError and ends the import.
_UNREADABLE = (
  ArithmeticError,
  AttributeError,
  EOFError,
  LookupError,
  MemoryError,
  NotImplementedError,
  RecursionError,
  SyntaxError,
  TypeError,
  ValueError,
  struct.error,
  zlib.error,
  zipfile.BadZipFile,
)


@dataclasses.dataclass(frozen=True)
class ImportOptions:
  """What to import, and where to.

  Attributes:
    kind: a name of `kinds.NAMES`.
    sources: files or folders.
    out: directory of the data set.
    frames: longest clip, 4k + 1.
    split: its name in the data set.
    settings: what the files do not say, and limits.
    encode: how exactly the records are kept.
    processes: None takes one per core; 1 works without worker processes.
    progress: whether to show how far it is.
  """

  kind: str
  sources: tuple[str, ...]
  out: str
  frames: int = 49
  split: str = "train"
  settings: scene_lib.Settings = dataclasses.field(
    default_factory=scene_lib.Settings
  )
  encode: records.EncodeOptions = records.REAL
  processes: int | None = None
  progress: bool = True


def import_records(options: ImportOptions) -> report.Report:
  """Imports what is not there yet.

  Returns: what was taken, mended and refused.

  Raises:
    UserError: bad options, a source that is not there or holds nothing, a
      directory of something else, another run at work in it, a full disk; or
      not one scene could be taken.
  """
  module = kinds.module(options.kind)
  _check(options)
  units = module.units(options.sources)
  if not units:
    raise errors.UserError(
      f"nothing to import in {', '.join(options.sources)}; kind "
      f"{options.kind!r} expects {module.ABOUT}"
    )
  identity = _identity(options, units)
  out = pathlib.Path(options.out)
  with shards.opened(out, identity) as parts:
    if parts is not None:
      _forget_lost(out, parts, options.split)
      _read_units(parts, units, options)
      _pack(out, parts, options.split, identity)
  return report.load(out / REPORT_FILE)


def _check(options: ImportOptions) -> None:
  shards.check_split(options.split)
  if options.frames < conversion.LEAST_FRAMES or options.frames % 4 != 1:
    raise errors.UserError(
      f"frames is {options.frames}; expected 4k + 1 from "
      f"{conversion.LEAST_FRAMES} on (5, 9, ..., 49)"
    )


def _identity(
  options: ImportOptions, units: Sequence[tuple[str, ...]]
) -> dict[str, Any]:
  """What decides the files. A source is known by its names and sizes."""
  names = hashlib.sha256()
  for path, *rest in units:
    size = pathlib.Path(path).stat().st_size if not _folder(path) else 0
    names.update(json.dumps([pathlib.Path(path).name, size, *rest]).encode())
  settings = dataclasses.asdict(options.settings)
  del settings["videos"], settings["scratch"]
  if settings["tracking"] is None:
    del settings["tracking"]
  return {
    "import": {
      "kind": options.kind,
      "frames": options.frames,
      "units": len(units),
      "source_digest": names.hexdigest(),
      **settings,
      **dataclasses.asdict(options.encode),
    },
    "split": options.split,
  }


def _folder(path: str) -> bool:
  return pathlib.Path(path).is_dir()


def _read_units(
  parts: pathlib.Path, units: Sequence[tuple[str, ...]], options: ImportOptions
) -> None:
  settings = dataclasses.replace(options.settings, scratch=str(parts))
  tasks = [
    (str(parts), number, unit, dataclasses.replace(options, settings=settings))
    for number, unit in enumerate(units)
    if not (parts / f"{number:06d}.unit").exists()
  ]
  done = len(units) - len(tasks)
  with (
    progress.shown(
      len(units), done, unit="source", enabled=options.progress
    ) as advance,
    workers.run(_read_unit, tasks, options.processes) as finished,
  ):
    for _ in finished:
      advance(1)


def _read_unit(
  folder: str,
  number: int,
  unit: tuple[str, ...],
  options: ImportOptions,
) -> None:
  """Leaves parts and outcomes of every scene of a unit."""
  parts = pathlib.Path(folder)
  for place, found in enumerate(_scenes(unit, options)):
    outcome = parts / f"{number:06d}-{place:06d}.outcome"
    if not outcome.exists():
      entries = _take(parts, outcome.stem, found, options)
      shards.write_file(outcome, json.dumps(entries).encode())
  shards.write_file(parts / f"{number:06d}.unit", b"")


def _scenes(
  unit: tuple[str, ...], options: ImportOptions
) -> Iterator[scene_lib.Found]:
  """Yields the scenes of a unit; last, why the rest of it is unreadable."""
  try:
    yield from kinds.module(options.kind).found(unit, options.settings)
  except (scene_lib.Refused, *_UNREADABLE) as error:
    known = isinstance(error, scene_lib.Refused)
    reason = str(error) if known else _reason(error)
    refuse = functools.partial(source_files.refuse, reason)
    yield scene_lib.Found(pathlib.Path(unit[0]).name, refuse)


def _reason(error: BaseException) -> str:
  return " ".join(f"unreadable ({type(error).__name__}: {error})".split())


def _take(
  parts: pathlib.Path,
  stem: str,
  found: scene_lib.Found,
  options: ImportOptions,
) -> list[dict[str, Any]]:
  """Writes the parts of a scene; returns what became of each clip."""
  try:
    clips = [
      (clip, _encoded(clip, options))
      for clip in conversion.clips(found.read(), options.frames)
    ]
  except scene_lib.Refused as reason:
    return [_entry(found.name, None, 0, [str(reason)])]
  except _UNREADABLE as error:
    return [_entry(found.name, None, 0, [_reason(error)])]
  entries = []
  for number, (clip, content) in enumerate(clips):
    part = None
    if content is not None:
      part = f"{stem}-{number:06d}"
      shards.write_file(parts / part, content)
    size = len(content or b"")
    entries.append(_entry(clip.name, part, size, list(clip.notes)))
  return entries


def _encoded(clip: conversion.Clip, options: ImportOptions) -> bytes | None:
  if clip.record is None:
    return None
  name = f"{options.kind}-{clip.record.id}"
  record = dataclasses.replace(clip.record, id=name)
  return record_directory.serialise(records.encode(record, options.encode))


def _entry(
  name: str, part: str | None, size: int, notes: list[str]
) -> dict[str, Any]:
  return {"name": name, "part": part, "bytes": size, "notes": notes}


def _outcomes(parts: pathlib.Path) -> list[dict[str, Any]]:
  return [
    entry
    for path in sorted(parts.glob("*.outcome"))
    for entry in json.loads(path.read_bytes())
  ]


def _layout(
  out: pathlib.Path, split: str, entries: Sequence[dict[str, Any]]
) -> list[tuple[pathlib.Path, list[str]]]:
  """Shards and their parts: by size and number, in the source's order."""
  groups: list[list[str]] = []
  size = 0
  for entry in entries:
    if entry["part"] is None:
      continue
    full = size + entry["bytes"] > _SHARD_BYTES
    if not groups or full or len(groups[-1]) == _SHARD_RECORDS:
      groups.append([])
      size = 0
    groups[-1].append(entry["part"])
    size += entry["bytes"]
  return list(
    zip(record_directory.shard_paths(out, split, len(groups)), groups)
  )


def _forget_lost(out: pathlib.Path, parts: pathlib.Path, split: str) -> None:
  """Lets scenes be read again whose parts were damaged and deleted."""
  for path, names in _layout(out, split, _outcomes(parts)):
    for name in names:
      if not (path.exists() or (parts / name).exists()):
        scene = name.rpartition("-")[0]
        (parts / f"{scene}.outcome").unlink(missing_ok=True)
        (parts / f"{scene[:6]}.unit").unlink(missing_ok=True)


def _pack(
  out: pathlib.Path, parts: pathlib.Path, split: str, identity: dict[str, Any]
) -> None:
  entries = _outcomes(parts)
  layout = _layout(out, split, entries)
  made = report.of(entries)
  text = json.dumps(dataclasses.asdict(made), indent=2)
  shards.write_file(out / REPORT_FILE, text.encode())
  if not layout:
    raise errors.UserError(
      f"none of the {made.found} scenes could be taken: "
      f"{made.reasons_line(made.refused)}; {out / REPORT_FILE} names them"
    )
  for path, names in layout:
    if not path.exists():
      shards.pack(path, [parts / name for name in names])
  paths = [path for path, _ in layout]
  lengths = [len(names) for _, names in layout]
  shards.finish(out, split, paths, lengths, identity)
