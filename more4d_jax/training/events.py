"""TensorBoard event files without tensorflow.

An event file is a sequence of records (length, CRC of the length, data, CRC of
the data) whose data is a protocol buffer of type Event. Source: TensorFlow's
tfrecord format and event.proto, summary.proto.
"""

import os
import pathlib
import socket
import struct
import time

_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected


def _crc_table() -> tuple[int, ...]:
  table = []
  for value in range(256):
    for _ in range(8):
      value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901
    table.append(value)
  return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
  """Returns the CRC-32C (Castagnoli) of bytes."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
  return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
  crc = crc32c(data)
  rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
  return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
  out = bytearray()
  while value > 0x7F:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)


def _bytes_field(number: int, data: bytes) -> bytes:
  return _varint(number << 3 | 2) + _varint(len(data)) + data


def _event(body: bytes, step: int) -> bytes:
  # Event: wall_time = 1 (double), step = 2 (int64), then one of the bodies.
  return (
    b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step) + body
  )


class EventWriter:
  """Appends scalars to a new event file of a directory."""

  def __init__(self, directory: str | os.PathLike[str], first_step: int = 0):
    """Opens a file; TensorBoard then forgets what lies at or after its start.

    Args:
      directory: made when missing.
      first_step: the first step this file may hold.
    """
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
    self._file = (folder / name).open("ab")
    self._write(_event(_bytes_field(3, b"brain.Event:2"), 0))
    # SessionLog.status = START makes a reader drop the steps to be repeated.
    self._write(_event(_bytes_field(7, b"\x08\x01"), first_step))
    self._file.flush()

  def _write(self, data: bytes) -> None:
    length = struct.pack("<Q", len(data))
    self._file.write(length + _masked(length) + data + _masked(data))

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes one event that holds all values of a step."""
    summary = b"".join(
      _bytes_field(
        1,
        _bytes_field(1, tag.encode()) + b"\x15" + struct.pack("<f", value),
      )
      for tag, value in values.items()
    )
    self._write(_event(_bytes_field(5, summary), step))

  def flush(self) -> None:
    """Makes what was written visible to readers."""
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()
