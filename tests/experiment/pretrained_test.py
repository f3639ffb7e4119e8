"""Networks that a run needs, or goes on from."""

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.experiment import pretrained
from more4d_jax.models import variants
from tests.experiment import configurations

_NANO = variants.get("nano")


def _save(place, kind="depth", **metadata):
  found = {"size": "nano", **metadata}
  params = {"w": np.arange(3.0)}
  store.save_network(place, params, getattr(_NANO, kind), found)


def test_a_network_is_found_in_workdirs_bundles_and_its_own_directory(tmp_path):
  for name in ("model", "depth"):
    _save(tmp_path / name)
  assert pretrained.locate(tmp_path, "depth") == tmp_path / "model"
  assert pretrained.locate(tmp_path / "depth", "depth") == tmp_path / "depth"
  (tmp_path / "model" / "network.json").unlink()
  assert pretrained.locate(tmp_path, "depth") == tmp_path / "depth"
  with pytest.raises(
    errors.UserError, match=r"expected a vism .* found a depth"
  ):
    pretrained.locate(tmp_path / "depth", "vism")
  with pytest.raises(errors.UserError, match="found none: train it to its end"):
    pretrained.locate(tmp_path / "nowhere", "depth")


def test_a_needed_network_must_be_named(tmp_path):
  config = configurations.read("motion_vae")
  with pytest.raises(errors.UserError, match=r"init_from\.video_vae=WORKDIR"):
    pretrained.load(config, "video_vae")
  config = configurations.read(
    "motion_vae", **{"init_from.video_vae": str(tmp_path)}
  )
  with pytest.raises(errors.UserError, match="expected a trained video_vae"):
    pretrained.load(config, "video_vae")


def test_weights_to_go_on_from_are_read_when_they_are_needed(tmp_path):
  assert pretrained.start(configurations.read("depth")) is None
  _save(tmp_path / "model", steps=3)
  config = configurations.read("depth", **{"init_from.depth": str(tmp_path)})
  found = pretrained.start(config)
  assert found.config == _NANO.depth
  assert found.metadata["steps"] == 3
  np.testing.assert_array_equal(found.params["w"], np.arange(3.0))


def test_a_network_of_another_size_is_refused(tmp_path):
  _save(tmp_path / "model", size="tiny")
  config = configurations.read("depth", **{"init_from.depth": str(tmp_path)})
  with pytest.raises(
    errors.UserError, match="has size tiny, this run has nano"
  ):
    pretrained.start(config)
  _save(tmp_path / "model", size="tiny", sizes=["tiny", "nano"])
  assert pretrained.start(config) is not None


def test_a_network_in_int8_is_not_trained(tmp_path):
  params = {"dit": {"blocks": {"kernel": np.ones((2, 3, 4), np.int8)}}}
  store.save_network(tmp_path / "model", params, _NANO.vism, {"size": "nano"})
  config = configurations.read("vism", **{"init_from.vism": str(tmp_path)})
  with pytest.raises(
    errors.UserError, match="holds int8 weights, which cannot be trained"
  ) as caught:
    pretrained.start(config)
  assert "\n" not in str(caught.value)
