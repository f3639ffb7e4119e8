"""What a motion VAE starts from."""

import dataclasses

import pytest

from configs import motion_vae as motion_vae_config
from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.experiment import motion_vae, pretrained


def _task(monkeypatch, before):
  """A task over a made-up video VAE, going on from `before`."""
  config = motion_vae_config.get_config("size=nano")
  task = motion_vae.MotionVAETask(config)
  video = store.Network("video_vae", None, {"encoder": 1}, {"identity": "ours"})
  found = {"video_vae": video, "motion_vae": before}
  monkeypatch.setattr(
    pretrained, "load", lambda config, kind, needed: found[kind]
  )
  task.prepare()
  return task


def _before(task_config, identity):
  return store.Network(
    "motion_vae",
    task_config,
    {"vae": {"encoder": 2}, "trajectory_encoder": 3},
    {"trained_on": {"video_vae": identity}},
  )


def _network():
  config = motion_vae_config.get_config("size=nano")
  return motion_vae.MotionVAETask(config).network


def test_a_new_run_takes_the_video_vae_alone(monkeypatch):
  assert _task(monkeypatch, None).loaded() == {"vae": {"encoder": 1}}


def test_a_run_that_goes_on_takes_everything(monkeypatch):
  before = _before(_network(), "ours")
  assert _task(monkeypatch, before).loaded() == before.params


def test_going_on_over_another_video_vae_is_refused(monkeypatch):
  before = _before(_network(), "another")
  with pytest.raises(errors.UserError, match="trained on another video VAE"):
    _task(monkeypatch, before).loaded()


def test_going_on_with_other_sizes_is_refused(monkeypatch):
  other = dataclasses.replace(_network(), gain=3.0)
  with pytest.raises(errors.UserError, match="built differently"):
    _task(monkeypatch, _before(other, "ours")).loaded()
