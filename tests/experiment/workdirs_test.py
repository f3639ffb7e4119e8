"""A workdir belongs to one configuration."""

import json
import re
import types

import pytest

from more4d_jax import errors, locations
from more4d_jax.experiment import config_reader, workdirs
from tests import gcs_server
from tests.experiment import configurations


def test_workdir_of_another_config_is_refused(tmp_path):
  workdirs.claim(configurations.read("strag"), tmp_path)
  workdirs.claim(configurations.read("strag"), tmp_path)  # The same again.
  # What does not change the result may change.
  free = {"log_every": 99, "mesh.data": 2, "sampling.num_steps": 3}
  workdirs.claim(configurations.read("strag", **free), tmp_path)
  other = configurations.read("strag", **{"optimizer.learning_rate": 0.5})
  with pytest.raises(errors.UserError, match=r"optimizer\.learning_rate is"):
    workdirs.claim(other, tmp_path)
  found = json.loads((tmp_path / "config.json").read_text())
  assert found["optimizer.learning_rate"] != 0.5


def test_longer_training_is_another_config_unless_the_rate_is_constant(
  tmp_path,
):
  workdirs.claim(configurations.read("strag", num_steps=5), tmp_path)
  with pytest.raises(errors.UserError, match="num_steps is 5 there and 6"):
    workdirs.claim(configurations.read("strag", num_steps=6), tmp_path)
  other = {"optimizer.schedule": "constant"}
  for steps in (5, 6):
    config = configurations.read("strag", num_steps=steps, **other)
    workdirs.claim(config, tmp_path / "constant")


def test_a_field_that_an_older_workdir_lacks_has_its_default(tmp_path):
  config = configurations.read("strag")
  values = config_reader.flat(config)
  assert values.pop("flow.levels") == 1000
  (tmp_path / "config.json").write_text(json.dumps(values))
  workdirs.check(config, tmp_path)
  other = configurations.read("strag", **{"flow.levels": 10})
  with pytest.raises(errors.UserError, match=r"flow\.levels is 1000 there"):
    workdirs.check(other, tmp_path)


def test_a_field_that_is_gone_is_another_config(tmp_path):
  config = configurations.read("depth")
  values = {**config_reader.flat(config), "loss.removed": 1}
  (tmp_path / "config.json").write_text(json.dumps(values))
  with pytest.raises(errors.UserError, match="1 there and absent here"):
    workdirs.check(config, tmp_path)


def test_two_runs_in_one_workdir_are_refused(tmp_path):
  workdir = tmp_path / "run"
  with workdirs.alone(workdir):
    other = workdirs.alone(workdir)
    with pytest.raises(errors.UserError, match=r"another run \(process \d+ on"):
      other.__enter__()
    (workdir / "something").touch()
  with workdirs.alone(workdir):
    pass  # Not after its end.


def test_a_workdir_that_stays_empty_is_not_left(tmp_path):
  with workdirs.alone(tmp_path / "run"):
    pass
  assert not (tmp_path / "run").exists()


def _bucket():
  return gcs_server.running(), locations.path("gs://alone/run")


def _sleep(monkeypatch, function):
  time = types.SimpleNamespace(sleep=function)
  monkeypatch.setattr(workdirs, "time", time)


def test_a_run_that_was_killed_is_told_from_one_at_work_in_a_bucket(
  monkeypatch,
):
  server, workdir = _bucket()
  lock = "alone/run/run.lock"
  with workdirs.alone(workdir):
    mine = server.objects[lock].decode()
    assert re.match(r"process \d+ on .*, sign", mine)
  assert lock not in server.objects
  server.put(lock, b"process 7 on elsewhere, sign 1")
  waited = []
  _sleep(monkeypatch, waited.append)
  with workdirs.alone(workdir):
    assert server.objects[lock] != b"process 7 on elsewhere, sign 1"
  assert waited == [45.0]

  def sign(_):
    server.put(lock, b"process 7 on elsewhere, sign 2")

  server.put(lock, b"process 7 on elsewhere, sign 1")
  _sleep(monkeypatch, sign)
  with (
    pytest.raises(errors.UserError, match=r"\(process 7 on elsewhere\) is at"),
    workdirs.alone(workdir),
  ):
    pass
  assert server.objects[lock] == b"process 7 on elsewhere, sign 2"


def test_a_config_in_a_bucket():
  _, workdir = _bucket()
  workdirs.claim(configurations.read("strag"), workdir)
  other = configurations.read("strag", seed=3)
  with pytest.raises(errors.UserError, match="seed is 0 there and 3 here"):
    workdirs.claim(other, workdir)
