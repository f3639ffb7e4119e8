"""TFRecord files and their tf.train.Example entries, without tensorflow."""

import os
import pathlib
import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np
from google.protobuf import message
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.importers import scene as scene_lib

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


class DamagedError(ValueError):
  """The file ends early or is no TFRecord."""


def entries(path: pathlib.Path, max_bytes: int) -> Iterator[bytes | None]:
  """Yields the payloads of a TFRecord file, None for one that is damaged.

  Raises:
    DamagedError: cut off or damaged. What came before is good.
  """
  with path.open("rb") as file:
    while head := file.read(12):
      if len(head) < 12:
        raise DamagedError("the file ends inside a header")
      size = _LENGTH.unpack(head[:8])[0]
      if _CHECKSUM.unpack(head[8:])[0] != masked_crc(head[:8]):
        raise DamagedError("a header is damaged, or this is no TFRecord file")
      if size > max_bytes:
        raise DamagedError(f"an entry claims {size} bytes")
      if size + _CHECKSUM.size > os.path.getsize(path) - file.tell():
        raise DamagedError("the file ends inside an entry")
      payload = file.read(size)
      (checksum,) = _CHECKSUM.unpack(file.read(_CHECKSUM.size))
      yield payload if checksum == masked_crc(payload) else None


def features(payload: bytes) -> dict[str, np.ndarray | list[bytes]]:
  """Feature name -> its values: arrays of numbers, or a list of strings.

  Raises:
    Refused: it is no tf.train.Example.
  """
  try:
    example = tf_example_pb2.Example.FromString(payload)
  except message.DecodeError as error:
    raise scene_lib.Refused("an entry is no tf.train.Example") from error
  found = {}
  for name, feature in example.features.feature.items():
    kind = feature.WhichOneof("kind")
    if kind == "bytes_list":
      found[name] = list(feature.bytes_list.value)
    elif kind is not None:
      dtype = np.float32 if kind == "float_list" else np.int64
      found[name] = np.array(getattr(feature, kind).value, dtype)
  return found


def masked_crc(data: bytes) -> int:
  """CRC-32C as TFRecord stores it: rotated by 15 bits, plus a constant."""
  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
