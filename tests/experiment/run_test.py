"""Starting a run: what a mistake leaves behind, and when a run is finished."""

import json

import jax.numpy as jnp
import pytest

from more4d_jax import errors, partitioning
from more4d_jax.checkpoints import store
from more4d_jax.experiment import depth, run, workdirs
from more4d_jax.experiment import task as tasks
from more4d_jax.models.encoders import tokenizer
from more4d_jax.training import runs
from more4d_jax.training import state as states
from tests.experiment import configurations

_config = configurations.read


def test_a_mistake_can_be_mended_in_the_same_workdir(tmp_path):
  workdir = tmp_path / "run"
  with pytest.raises(errors.UserError, match=r"data\.records"):
    run.run("train", _config("depth"), workdir)
  assert not workdir.exists()
  mended = _config("depth", **{"data.records": str(tmp_path / "elsewhere")})
  with pytest.raises(errors.UserError, match="elsewhere"):
    run.run("train", mended, workdir)


def test_a_constant_rate_may_go_on_after_the_end(tmp_path, capsys):
  constant = {"optimizer.schedule": "constant"}
  config = _config("depth", num_steps=5, **constant)
  workdirs.claim(config, tmp_path)
  model = tmp_path / "model"
  model.mkdir()
  header = {"format": 1, "kind": "depth", "config": {}}
  (model / "network.json").write_text(
    json.dumps({**header, "metadata": {"steps": 5}})
  )
  run.run("train", config, tmp_path)
  assert "nothing left to train" in capsys.readouterr().out
  longer = _config("depth", num_steps=6, **constant)
  with pytest.raises(errors.UserError, match=r"data\.records"):  # It goes on.
    run.run("train", longer, tmp_path)


class _Task(depth.DepthTask):
  """A depth network that pretends to have statistics."""

  mean = 0.0

  def metadata(self, opened, params):
    return {"latent_stats": {"mean": [self.mean]}}


def _finished(monkeypatch, tmp_path, tokenizers):
  """Metadata of networks that end with some means and tokenizers."""
  written = []
  monkeypatch.setattr(store, "save_network", lambda *args: written.append(args))
  training = object.__new__(runs.Training)
  object.__setattr__(training, "frozen", {})
  object.__setattr__(training, "mesh", partitioning.one_device())
  state = states.TrainState(3, None, {"w": jnp.ones(2)}, None, 0)
  task = _Task(_config("depth"))
  base = store.Network("video_vae", None, {}, {"identity": "aaaa"})
  for task.mean, found in tokenizers:
    opened = tasks.Opened(
      [], [], tmp_path, {"video_vae": base}, tokenizer=found
    )
    run.finish(task, opened, training, state)
  return [args[3] for args in written], [args[4] for args in written]


def test_equal_weights_with_other_statistics_are_another_network(
  monkeypatch, tmp_path
):
  metadata, _ = _finished(
    monkeypatch, tmp_path, [(0.0, None), (1.0, None), (1.0, None)]
  )
  assert metadata[0]["identity"] != metadata[1]["identity"]
  assert metadata[1] == metadata[2]
  assert metadata[0]["trained_on"] == {"video_vae": "aaaa"}
  assert metadata[0]["steps"] == 3


def test_equal_weights_under_another_tokenizer_are_another_network(
  monkeypatch, tmp_path
):
  found = []
  for text in ("one", "two"):
    folder = tmp_path / text
    folder.mkdir()
    (folder / "spiece.model").write_text(text)
    found.append((0.0, tokenizer.FileTokenizer(folder, 4, 10)))
  metadata, files = _finished(monkeypatch, tmp_path, found)
  assert metadata[0]["identity"] != metadata[1]["identity"]
  assert files[0] == {"tokenizer": tmp_path / "one"}
