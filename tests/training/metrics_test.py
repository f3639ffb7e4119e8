"""Event files read back by their format; lines of repeated steps go."""

import json
import struct

import pytest

from more4d_jax.training import events, metrics


def _varint(data, place):
  value = shift = 0
  while True:
    byte = data[place]
    place += 1
    value |= (byte & 0x7F) << shift
    shift += 7
    if byte < 0x80:
      return value, place


def _fields(data):
  """Protocol buffer wire format: list of (number, value)."""
  found, place = [], 0
  while place < len(data):
    tag, place = _varint(data, place)
    kind = tag & 7
    if kind == 0:
      value, place = _varint(data, place)
    elif kind == 1:
      value, place = struct.unpack_from("<d", data, place)[0], place + 8
    elif kind == 5:
      value, place = struct.unpack_from("<f", data, place)[0], place + 4
    else:
      size, place = _varint(data, place)
      value, place = data[place : place + size], place + size
    found.append((tag >> 3, value))
  return found


def _events(path):
  data, place = path.read_bytes(), 0
  while place < len(data):
    (size,) = struct.unpack_from("<Q", data, place)
    yield dict(_fields(data[place + 12 : place + 12 + size]))
    place += 12 + size + 4


def test_crc_of_known_strings():
  # RFC 3720, appendix B.4.
  assert events.crc32c(b"123456789") == 0xE3069283
  assert events.crc32c(bytes(32)) == 0x8A9136AA
  assert events.crc32c(b"\xff" * 32) == 0x62A8AB43


def test_scalars_are_read_back(tmp_path):
  writer = events.EventWriter(tmp_path, first_step=7)
  writer.scalars(300, {"loss": 0.5, "kl": -2.0})
  writer.close()
  (path,) = tmp_path.iterdir()
  version, session, step = _events(path)
  assert version[3] == b"brain.Event:2"
  assert session[2] == 7
  assert dict(_fields(session[7])) == {1: 1}
  assert step[2] == 300
  values = [dict(_fields(value)) for _, value in _fields(step[5])]
  assert values == [{1: b"loss", 2: 0.5}, {1: b"kl", 2: -2.0}]


def test_lines_after_the_resumed_step_and_torn_lines_are_dropped(tmp_path):
  writer = metrics.MetricsWriter(tmp_path, "metrics", 0)
  for step in range(1, 5):
    writer.write(step, {"loss": float(step)})
  writer.close()
  path = tmp_path / "metrics.jsonl"
  with path.open("a") as file:
    file.write('{"step": 5, "lo')
  writer = metrics.MetricsWriter(tmp_path, "metrics", 2)
  writer.write(3, {"loss": float("nan")})
  writer.close()
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert lines == [
    {"step": 1, "loss": 1.0},
    {"step": 2, "loss": 2.0},
    {"step": 3, "loss": None},
  ]


def test_values_that_are_no_numbers_are_refused(tmp_path):
  writer = metrics.MetricsWriter(tmp_path, "metrics", 0)
  with pytest.raises(TypeError):
    writer.write(1, {"loss": "high"})
  writer.close()
