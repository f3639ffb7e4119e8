"""An interrupted STraG run on records repeats itself exactly when resumed."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from configs import strag
from data_pipelines.trajscene import generation, make
from more4d_jax import errors, locations
from more4d_jax.checkpoints import store
from more4d_jax.experiment import (
  building,
  config_reader,
  run,
  run_config,
  workdirs,
)
from more4d_jax.models import latent_stats, variants
from more4d_jax.training import loop, stopping
from tests import gcs_server, nano_bundle

pytestmark = pytest.mark.slow
_STEPS = 7


@pytest.fixture(scope="module", name="config")
def _config(tmp_path_factory):
  root = tmp_path_factory.mktemp("strag")
  records = make.make_records(
    make.MakeOptions(
      str(root / "records"),
      generation.SceneOptions(5, frames=5, height=32, width=48, light=True),
      processes=1,
      progress=False,
    )
  )
  metadata = nano_bundle.metadata_of(variants.get("nano"), "motion_vae")
  metadata["base_latent_stats"] = latent_stats.identity(16).to_json()
  metadata["identity"] = "0123"
  store.save_network(
    root / "motion_vae" / "model",
    nano_bundle.params_of(variants.get("nano"), "motion_vae"),
    variants.get("nano").motion_vae,
    metadata,
  )
  config = strag.get_config("size=nano")
  config.num_steps = _STEPS
  config.batch_size = 8
  config.checkpoint.every = 3
  config.evaluation.every = 0
  config.evaluation.videos = 0
  config.data.records = str(records)
  config.data.num_held_out = 1
  config.data.cache = str(root / "cache")
  config.init_from.motion_vae = str(root / "motion_vae")
  return config_reader.read(config)


class _Stopping:
  """A loader that asks the run to stop while it reads a batch."""

  def __init__(self, loader, after):
    self._loader, self._left = loader, after

  def __next__(self):
    self._left -= 1
    if self._left == 0:
      os.kill(os.getpid(), signal.SIGINT)
    return next(self._loader)

  def get_state(self):
    return self._loader.get_state()

  def set_state(self, state):
    self._loader.set_state(state)

  def close(self):
    self._loader.close()


def _lines(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.fixture(scope="module", name="whole")
def _whole(config, tmp_path_factory):
  """The workdir of a run that was left alone."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  run.run("train", config, workdir)
  return workdir


def _in_a_bucket(config):
  """The same run with all that it reads, its workdir in a bucket too."""
  gcs_server.running()
  bucket = locations.path("gs://resume")
  here = {
    "records": config.data.records,
    "motion_vae": config.init_from.motion_vae,
  }
  for name, folder in here.items():
    locations.copy_tree(locations.path(folder), bucket / name)
  data = dataclasses.replace(
    config.data, records=str(bucket / "records"), cache=str(bucket / "cache")
  )
  init = dataclasses.replace(
    config.init_from, motion_vae=str(bucket / "motion_vae")
  )
  return dataclasses.replace(config, data=data, init_from=init), bucket / "run"


@pytest.mark.parametrize("place", ["here", "bucket"])
def test_resumed_run_repeats_the_losses_exactly(config, whole, tmp_path, place):
  parts = tmp_path / "parts"
  if place == "bucket":
    config, parts = _in_a_bucket(config)
  task = run.make_task(config)
  training = building.training(task, task.open(parts))
  asking = _Stopping(training.loader, 4)
  with pytest.raises(stopping.Interrupted):
    loop.train(dataclasses.replace(training, loader=asking), parts)
  assert 0 < len(_lines(parts)) < _STEPS
  assert not (parts / "model").exists()
  run.run("train", config, parts)
  for name in ("step", "loss", "gradient_norm"):
    expected = [line[name] for line in _lines(whole)]
    assert [line[name] for line in _lines(parts)] == expected
  ours, theirs = (store.load_network(d / "model") for d in (parts, whole))
  assert ours.metadata == theirs.metadata
  assert ours.metadata["trained_on"] == {"motion_vae": "0123"}
  for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params)):
    np.testing.assert_array_equal(a, b)


def test_finished_run_is_left_alone_and_another_config_is_refused(
  config, tmp_path, capsys
):
  other = dataclasses.replace(config, seed=5)
  workdir = tmp_path / "run"
  store.save_network(
    workdir / "model",
    nano_bundle.params_of(variants.get("nano"), "strag"),
    variants.get("nano").strag,
    {"steps": _STEPS},
  )
  workdirs.claim(config, workdir)
  run.run("train", config, workdir)
  assert "nothing left to train" in capsys.readouterr().out
  with pytest.raises(errors.UserError, match="seed is 0 there and 5 here"):
    run.run("train", other, workdir)
  with pytest.raises(errors.UserError, match="holds no run"):
    run.run("evaluate", config, tmp_path / "nowhere")


def test_motion_of_another_normalisation_is_refused(config, tmp_path):
  motion = run_config.MotionConfig("first_frame_range", "intrinsics")
  other = dataclasses.replace(config, motion=motion)
  with pytest.raises(errors.UserError, match="motion VAE was trained with"):
    run.run("train", other, tmp_path)
