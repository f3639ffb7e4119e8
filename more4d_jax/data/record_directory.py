"""Directories of records: ArrayRecord shards that tfds also reads.

A directory, best DATA_DIR/traj_scene/CONFIG/VERSION, holds
`traj_scene-SPLIT.array_record-00000-of-00010` and so on, `dataset_info.json`
and `features.json`, as tensorflow-datasets writes them:
`tfds.data_source("traj_scene/CONFIG", data_dir=DATA_DIR)`, or
`tfds.builder_from_directory(directory).as_data_source(SPLIT)`, opens it as
well. Each entry is a serialised `tf.train.Example` whose features are the byte
strings of `records.ENCODED`.
"""

import bisect
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from array_record.python import array_record_data_source, array_record_module
from google.protobuf import message
from tensorflow_datasets.proto import tf_example_pb2

from more4d_jax import errors, locations
from more4d_jax.data import records
from more4d_jax.data.codec import array_codec

DATASET_NAME = "traj_scene"
DATA_VERSION = f"{records.SCHEMA_VERSION}.0.0"
INFO_FILE = "dataset_info.json"
_READ_ERRORS = (ValueError, RuntimeError, IndexError, OSError)


class RecordSource:
  """Records by number: `source[i].decode(("tracks", "depth"))`.

  Threads may share it, and it can be pickled for worker processes.
  """

  def __init__(
    self,
    paths: list[locations.Location],
    lengths: list[int],
    metadata: Any = None,
  ):
    """Opens nothing yet.

    Args:
      paths: shard files in order.
      lengths: number of records in each.
      metadata: what `dataset_info.json` says.
    """
    self.metadata = metadata
    self.directory = locations.path(paths[0]).parent
    self._paths = [locations.path(path) for path in paths]
    self._ends = list(itertools.accumulate(lengths))
    self._reader = array_record_data_source.ArrayRecordDataSource(
      [f"{path}[0:{length}]" for path, length in zip(paths, lengths)]
    )

  def __len__(self) -> int:
    return self._ends[-1]

  def __getitem__(self, index: int) -> records.EncodedRecord:
    where = self.where(index)
    try:
      raw = self._reader[index]
      fields = deserialise(raw)
    except _READ_ERRORS as error:
      reason = str(error).splitlines()[0][:120] if str(error) else "unreadable"
      raise errors.DamagedRecordError(
        f"{where} is damaged ({reason}); copy or make that file again"
      ) from error
    return records.EncodedRecord(fields, where)

  def shard_ranges(self) -> list[tuple[locations.Location, range]]:
    """Every file with the numbers of its records."""
    starts = [0, *self._ends[:-1]]
    return [
      (path, range(start, end))
      for path, start, end in zip(self._paths, starts, self._ends)
    ]

  def where(self, index: int) -> str:
    """Record and file of a number, for messages."""
    if not 0 <= index < len(self):
      raise IndexError(f"record {index} of {len(self)}")
    shard = bisect.bisect_right(self._ends, index)
    position = index - (self._ends[shard - 1] if shard else 0)
    return f"record {index} ({self._paths[shard]} number {position})"


def open_records(
  directory: str | os.PathLike[str], split: str | None = None
) -> RecordSource:
  """Opens the records of a directory.

  Args:
    directory: where `dataset_info.json` lies, or a folder above it.
    split: which split; may be left out where there is only one.

  Raises:
    UserError: nothing there, not finished, a shard missing, no such split.
  """
  root, info, lengths = _read_info(directory)
  if split is None and len(lengths) == 1:
    split = next(iter(lengths))
  if split not in lengths:
    raise errors.UserError(
      f"{root} has the splits {', '.join(sorted(lengths))}; name one of them, "
      f"found {split!r}"
    )
  paths = shard_paths(root, split, len(lengths[split]))
  for path in paths:
    if not path.is_file():
      raise errors.UserError(
        f"{path} is missing; expected {len(paths)} shards in {root}, copy or "
        f"make the records again"
      )
  if not sum(lengths[split]):
    raise errors.UserError(f"{root} holds no records in split {split}")
  return RecordSource(paths, lengths[split], info)


def named(out: str | os.PathLike[str], config: str) -> locations.Location:
  """Where records belong below `out` so that tensorflow-datasets finds them.

  Args:
    out: folder of data sets, `data_dir` of tensorflow-datasets.
    config: name of the data set.

  Returns: `out/traj_scene/CONFIG/VERSION`; or `out` itself if records lie
    there, finished or not, as they did before they had names.

  Raises:
    UserError: the name cannot be one.
  """
  if not re.fullmatch(r"[A-Za-z][\w-]*", config):
    raise errors.UserError(
      f"config is {config!r}; expected a name of letters, digits, _ and -"
    )
  out = locations.here(out, "the folder of new records")
  if any((out / name).exists() for name in (INFO_FILE, "parts")):
    return out
  return out / DATASET_NAME / config / DATA_VERSION


def split_lengths(directory: str | os.PathLike[str]) -> dict[str, list[int]]:
  """The splits of a directory, with the number of records in each shard.

  Raises:
    UserError: nothing there, or not finished.
  """
  return _read_info(directory)[2]


def shard_paths(
  directory: str | os.PathLike[str], split: str, count: int
) -> list[locations.Location]:
  """The file names of a split's shards, in order."""
  return [
    locations.path(directory)
    / f"{DATASET_NAME}-{split}.array_record-{index:05d}-of-{count:05d}"
    for index in range(count)
  ]


def serialise(fields: Mapping[str, bytes]) -> bytes:
  """Byte strings to one `tf.train.Example`; equal input, equal bytes."""
  example = tf_example_pb2.Example()
  for name, blob in fields.items():
    example.features.feature[name].bytes_list.value.append(blob)
  return example.SerializeToString(deterministic=True)


def deserialise(raw: bytes) -> dict[str, bytes]:
  """The byte strings of a serialised example.

  Raises:
    codec.DamagedError: it is not one.
  """
  try:
    example = tf_example_pb2.Example.FromString(raw)
  except message.DecodeError as error:
    raise array_codec.DamagedError("no tf.train.Example") from error
  return {
    name: feature.bytes_list.value[0]
    for name, feature in example.features.feature.items()
    if feature.bytes_list.value
  }


def write_shard(path: str | os.PathLike[str], entries: Iterable[bytes]) -> None:
  """Writes one ArrayRecord file whole or not at all.

  Args:
    path: final name; the file grows under a temporary one beside it.
    entries: what `serialise` returned; stored as it is, for the strings in it
      are compressed already.

  Raises:
    OSError: it could not be written.
  """
  temporary = f"{os.fspath(path)}.incomplete"
  try:
    writer = array_record_module.ArrayRecordWriter(
      temporary, "group_size:1,uncompressed"
    )
    try:
      for entry in entries:
        writer.write(entry)
    finally:
      writer.close()
  except RuntimeError as error:  # The library raises it for any failed write.
    locations.path(temporary).unlink(missing_ok=True)
    raise OSError(f"{error} ({path})") from error
  with open(temporary, "rb") as file:
    os.fsync(file.fileno())
  os.replace(temporary, path)


def _read_info(
  directory: str | os.PathLike[str],
) -> tuple[locations.Location, Any, dict[str, list[int]]]:
  """The directory of the files, what the metadata say, shard lengths."""
  root = _find_root(locations.path(directory))
  try:
    info = json.loads((root / INFO_FILE).read_text())
    lengths = {
      entry["name"]: [int(length) for length in entry["shardLengths"]]
      for entry in info["splits"]
    }
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f"{root / INFO_FILE} is damaged ({error}); make the records again"
    ) from error
  return root, info, lengths


def _find_root(directory: locations.Location) -> locations.Location:
  if (directory / INFO_FILE).is_file():
    return directory
  if not directory.is_dir():
    raise errors.UserError(
      f"{directory} is no directory; expected records, made by "
      f"`more4d data make --out {directory}`"
    )
  found = [
    file.parent
    for file in locations.files_below(directory)
    if file.name == INFO_FILE
  ]
  if len(found) == 1:
    return found[0]
  if not found:
    raise errors.UserError(
      f"{directory} has no {INFO_FILE}: no records, or not finished; run "
      f"`more4d data make --out {directory}` (again)"
    )
  raise errors.UserError(
    f"{directory} holds several data sets: "
    f"{', '.join(str(path) for path in found)}; name one of them"
  )
