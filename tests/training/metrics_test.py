"""Event files read back by their format; lines of repeated steps go."""

import json
import struct

import pytest
from tensorboardX.proto import event_pb2

from more4d_jax.training import metrics


def _events(folder):
  """Events of the one file of a folder: (length, CRC, data, CRC) each."""
  (path,) = folder.iterdir()
  data, place = path.read_bytes(), 0
  while place < len(data):
    (size,) = struct.unpack_from("<Q", data, place)
    yield event_pb2.Event.FromString(data[place + 12 : place + 12 + size])
    place += 12 + size + 4


def test_tensorboard_sees_the_values_and_where_a_resumed_run_starts(tmp_path):
  writer = metrics.MetricsWriter(tmp_path, "metrics", 7)
  writer.write(300, {"loss": 0.5, "gradient_norm/dit": -2.0})
  writer.close()
  found = list(_events(tmp_path / "events" / "metrics"))
  starts = [event.step for event in found if event.session_log.status]
  assert starts == [7]
  values = [(v.tag, v.simple_value) for e in found for v in e.summary.value]
  assert values == [("loss", 0.5), ("gradient_norm/dit", -2.0)]
  assert {event.step for event in found if event.summary.value} == {300}


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


def test_the_mean_of_nothing_is_null_and_tensorboard_does_not_see_it(tmp_path):
  writer = metrics.MetricsWriter(tmp_path, "metrics", 0)
  writer.write(1, {"loss": 0.5, "loss_at_noise": float("nan")})
  writer.close()
  (line,) = metrics.lines(tmp_path / "metrics.jsonl")
  assert line == {"step": 1, "loss": 0.5, "loss_at_noise": None}
  events = _events(tmp_path / "events" / "metrics")
  assert [v.tag for e in events for v in e.summary.value] == ["loss"]


def test_values_that_are_no_numbers_are_refused(tmp_path):
  writer = metrics.MetricsWriter(tmp_path, "metrics", 0)
  with pytest.raises(TypeError):
    writer.write(1, {"loss": "high"})
  writer.close()
