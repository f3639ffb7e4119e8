"""What a motion VAE starts from."""

import dataclasses
import pathlib

import pytest

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.experiment import pretrained, record_splits
from tests.experiment import configurations


def _start(network, identity):
  params = {"vae": {"encoder": 2}, "trajectory_encoder": 3}
  found = {"trained_on": {"video_vae": identity}}
  return store.Network("motion_vae", network, params, found)


def _opened(monkeypatch, start):
  """A task over a made-up video VAE and what it opens, going on from one."""
  task = configurations.task("motion_vae")
  video = store.Network("video_vae", None, {"encoder": 1}, {"identity": "ours"})
  monkeypatch.setattr(pretrained, "load", lambda config, kind: video)
  monkeypatch.setattr(pretrained, "start", lambda config: start)
  monkeypatch.setattr(record_splits, "open_splits", lambda data: ([], []))
  return task, task.open(pathlib.Path())


def _network():
  return configurations.task("motion_vae").network


def test_a_new_run_takes_the_video_vae_alone(monkeypatch):
  task, opened = _opened(monkeypatch, None)
  assert task.initial_params(opened) == {"vae": {"encoder": 1}}


def test_a_run_that_goes_on_takes_all_parameters(monkeypatch):
  start = _start(_network(), "ours")
  task, opened = _opened(monkeypatch, start)
  assert task.initial_params(opened) == start.params


def test_going_on_over_another_video_vae_is_refused(monkeypatch):
  with pytest.raises(errors.UserError, match="trained on another video VAE"):
    _opened(monkeypatch, _start(_network(), "another"))


def test_going_on_with_other_sizes_is_refused(monkeypatch):
  other = dataclasses.replace(_network(), gain=3.0)
  with pytest.raises(errors.UserError, match="built differently"):
    _opened(monkeypatch, _start(other, "ours"))
