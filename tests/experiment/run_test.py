"""Starting a run: what a mistake leaves behind, and when a run is finished."""

import importlib
import json

import numpy as np
import pytest

from data_pipelines.procedural import records
from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.experiment import depth, record_splits, run, settings
from more4d_jax.training import loop
from more4d_jax.training import state as states


def _config(name, **values):
  config = importlib.import_module(f"configs.{name}").get_config("size=nano")
  config.update_from_flattened_dict(values)
  return config


def test_a_mistake_can_be_mended_in_the_same_workdir(tmp_path):
  workdir = tmp_path / "run"
  with pytest.raises(errors.UserError, match=r"data\.records"):
    run.run("train", _config("depth"), workdir)
  assert not workdir.exists()
  mended = _config("depth", **{"data.records": str(tmp_path / "elsewhere")})
  with pytest.raises(errors.UserError, match="elsewhere"):
    run.run("train", mended, workdir)


def test_a_constant_rate_may_go_on_after_the_end(tmp_path, capsys):
  config = _config("depth", num_steps=5)
  config.optimizer.schedule = "constant"
  settings.claim_workdir(config, tmp_path)
  model = tmp_path / "model"
  model.mkdir()
  header = {"format": 1, "kind": "depth", "config": {}}
  (model / "network.json").write_text(
    json.dumps({**header, "metadata": {"steps": 5}})
  )
  run.run("train", config, tmp_path)
  assert "nothing left to train" in capsys.readouterr().out
  config.num_steps = 6
  with pytest.raises(errors.UserError, match=r"data\.records"):  # It goes on.
    run.run("train", config, tmp_path)


@pytest.mark.parametrize("name", ["evaluation.records", "statistics_records"])
def test_counts_of_nothing_are_one_clear_line(name):
  config = _config("video_vae", **{name: 0})
  with pytest.raises(errors.UserError, match=f"{name} is 0: expected at"):
    settings.loop_config(config)


def test_an_unknown_scale_of_the_loss_is_one_clear_line():
  task = run.make_task(_config("motion_vae", **{"loss.scale": "Sum"}), None)
  with pytest.raises(errors.UserError, match="'Sum': choose one of sum, mean"):
    _ = task.objective


def test_fewer_than_no_records_cannot_be_held_out(monkeypatch):
  monkeypatch.setattr(
    record_splits.record_directory, "open_records", lambda _: [1, 2, 3]
  )
  config = _config("depth", **{"data.records": "x", "data.num_held_out": -1})
  with pytest.raises(errors.UserError, match="at least 0"):
    record_splits.open_sets(config.data)


def test_weights_of_data_sets_are_parts_of_the_order(monkeypatch, tmp_path):
  for name in "ab":
    (tmp_path / name).mkdir()
  monkeypatch.chdir(tmp_path)
  sizes = {"a": [0] * 5, "b": [0] * 4}
  monkeypatch.setattr(record_splits.record_directory, "open_records", sizes.get)
  base = {"data.records": "a,b"}
  assert record_splits.parts(_config("depth", **base).data) == ()
  weighed = _config("depth", **base, **{"data.weights": "3,1"})
  found = record_splits.parts(weighed.data)
  assert [(part.size, part.weight) for part in found] == [(5, 3.0), (4, 1.0)]
  weighed.data.num_held_out = 3
  assert [part.size for part in record_splits.parts(weighed.data)] == [5, 1]
  weighed.data.limit = 5
  with pytest.raises(errors.UserError, match="no record of b is trained on"):
    record_splits.parts(weighed.data)
  for text in ("3", "3,x", "3,-1"):
    weighed.data.weights = text
    with pytest.raises(errors.UserError, match="expected 2 positive numbers"):
      record_splits.parts(weighed.data)


class _Task(depth.DepthTask):
  """A depth network that pretends to have statistics and a base."""

  mean = 0.0
  trained_on = {"video_vae": "aaaa"}  # noqa: RUF012

  def metadata(self, params):
    return {"latent_stats": {"mean": [self.mean]}}


def test_equal_weights_with_other_statistics_are_another_network(
  monkeypatch, tmp_path
):
  written = []
  monkeypatch.setattr(store, "save_network", lambda *args: written.append(args))
  training = object.__new__(loop.Training)
  object.__setattr__(training, "frozen", {})
  state = states.TrainState(3, None, {"w": np.ones(2)}, None, 0)
  task = _Task(_config("depth"))
  for task.mean in (0.0, 1.0, 1.0):
    run.finish(task, training, state, tmp_path)
  metadata = [args[3] for args in written]
  assert metadata[0]["identity"] != metadata[1]["identity"]
  assert metadata[1] == metadata[2]
  assert metadata[0]["trained_on"] == {"video_vae": "aaaa"}
  assert metadata[0]["steps"] == 3


def test_speed_of_the_records_travels_with_strag():
  task = run.make_task(_config("strag"), None)
  record = records.make_record(1, records.RecordOptions(5, 32, 48))
  found = {"normalisation": {}, "latent_stats": {}}
  task._sets = ([record], [record])
  task._motion_vae = store.Network("motion_vae", None, {}, found)
  assert task.metadata({})["fps"] == record.fps != 8
