"""TFRecord files and their tf.train.Example entries, without tensorflow."""

import pathlib
import struct
from collections.abc import Iterator, Mapping

import numpy as np
from google.protobuf import message
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.importers import scene as scene_lib

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


class DamagedError(ValueError):
  """The file ends early or is no TFRecord."""


def entries(path: pathlib.Path, max_bytes: int) -> Iterator[bytes]:
  """Yields the payloads of a TFRecord file.

  The checksum of every length is verified; damage inside a payload shows when
  its pictures are decoded.

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
      payload = file.read(size)
      if len(payload) < size or len(file.read(4)) < 4:
        raise DamagedError("the file ends inside an entry")
      yield payload


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
  crc = 0xFFFFFFFF
  for byte in data:
    crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
  crc ^= 0xFFFFFFFF
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _castagnoli() -> Mapping[int, int]:
  table = {}
  for byte in range(256):
    crc = byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    table[byte] = crc
  return table


_TABLE = _castagnoli()
