"""Checks of a data set: its files among themselves, then every record."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator

from data_pipelines.trajscene import (
  features,
  progress,
  record_checks,
)
from data_pipelines.trajscene import shards as files
from more4d_jax import errors
from more4d_jax.data import record_directory, records


@dataclasses.dataclass(frozen=True)
class Report:
  """Result of a check.

  Attributes:
    count: number of records.
    problems: a line each.
    notes: what could not be checked, a line each.
  """

  count: int
  problems: tuple[str, ...]
  notes: tuple[str, ...] = ()


def validate(
  directory: str | os.PathLike[str],
  split: str | None = None,
  *,
  show_progress: bool = False,
) -> Report:
  """Reads all of a data set.

  Args:
    directory: of the data set.
    split: one of its splits; all of them unless given.
    show_progress: whether to show how far it is.

  Raises:
    UserError: there is no data set that could be checked.
  """
  names = record_directory.split_lengths(directory)
  opened = {
    name: record_directory.open_records(directory, name)
    for name in ([split] if split is not None else sorted(names))
  }
  root = next(iter(opened.values())).directory
  problems, notes = _file_problems(root, names)
  seen: dict[str, str] = {}
  total = sum(len(records_) for records_ in opened.values())
  with progress.shown(total, enabled=show_progress) as advance:
    for name, found in opened.items():
      where = f"{name}: " if len(opened) > 1 else ""
      problems += [
        where + line for line in _record_problems(found, seen, advance)
      ]
  return Report(total, tuple(problems), tuple(notes))


def _record_problems(opened, seen, advance) -> Iterator[str]:
  """Lines about the records of a split, shard by shard."""
  for path, places in opened.shard_ranges():
    damaged: list[int] = []
    for index in places:
      advance(1)
      try:
        item = opened[index]
        record = item.decode()
        precision = record_checks.Precision.of(records.read_header(item.fields))
        records.check(record)
      except ValueError as error:
        damaged.append(index)
        if (
          len(damaged) == 1
        ):  # A torn file gives the same message for all records.
          yield str(error)
        continue
      name = f"record {index} ({record.id})"
      if record.id in seen:
        yield f"{name}: same id as {seen[record.id]}"
      seen.setdefault(record.id, f"record {index} of {path.name}")
      for line in record_checks.problems(record, precision):
        yield f"{name}: {line}"
    if len(damaged) > 1:
      yield f"{path}: damaged are its records {_ranges(damaged)}"


def _ranges(numbers: list[int]) -> str:
  """For instance "3, 5 to 9" of increasing numbers."""
  parts: list[list[int]] = []
  for number in numbers:
    if parts and number == parts[-1][1] + 1:
      parts[-1][1] = number
    else:
      parts.append([number, number])
  return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)


def _file_problems(
  root: pathlib.Path, splits: dict[str, list[int]]
) -> tuple[list[str], list[str]]:
  """Lines about files that do not fit each other, and about missing ones."""
  problems = [
    f"{path}: left over from a command that was interrupted; delete it, or "
    f"run that command again"
    for path in sorted(root.iterdir())
    if path.name.endswith(".incomplete")
  ]
  listed = {
    path.name
    for name, lengths in splits.items()
    for path in record_directory.shard_paths(root, name, len(lengths))
  }
  problems += [
    f"{path}: not one of the shards that {record_directory.INFO_FILE} counts"
    for path in sorted(
      root.glob(f"{record_directory.DATASET_NAME}-*.array_record-*")
    )
    if path.name not in listed and not path.name.endswith(".incomplete")
  ]
  problems += _feature_problems(root / features.FILE)
  manifest = root / files.MANIFEST_FILE
  if not manifest.is_file():
    return problems, [f"{root} has no {manifest.name}: checksums not compared"]
  return problems + list(_manifest_problems(root, manifest, splits)), []


def _feature_problems(path: pathlib.Path) -> Iterator[str]:
  """Differences of `features.json` from what this program writes."""
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    yield f"{path}: unreadable ({error}), tensorflow-datasets needs it"
    return
  expected = json.loads(features.text())
  if found in (expected, json.loads(features.earlier_text())):
    return
  names = [
    set(each.get("featuresDict", {}).get("features", {}))
    for each in (found, expected)
  ]
  other = ", ".join(sorted(names[0] ^ names[1])) or "their kinds"
  yield f"{path}: fields differ from those of this version: {other}"


def _manifest_problems(
  root: pathlib.Path, path: pathlib.Path, splits: dict[str, list[int]]
) -> Iterator[str]:
  """Shards that differ from the manifest, named with their records."""
  try:
    manifest = json.loads(path.read_text())
    shards = manifest["shards"]
    digests = {shard["file"]: shard["sha256"] for shard in shards}
    counts = {shard["file"]: shard["records"] for shard in shards}
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f"{path} is damaged ({error}); make or copy the records again"
    ) from error
  for split, lengths in splits.items():
    first = 0
    for shard, length in zip(
      record_directory.shard_paths(root, split, len(lengths)), lengths
    ):
      held = f"{shard} (records {first} to {first + length - 1})"
      first += length
      if shard.name not in digests:
        yield f"{held}: not in {path.name}"
      elif counts[shard.name] != length:
        yield (
          f"{held}: {path.name} counts {counts[shard.name]} records, "
          f"{record_directory.INFO_FILE} {length}"
        )
      elif files.file_digest(shard) != digests[shard.name]:
        yield f"{held}: checksum differs from {path.name}"
