"""Which parameters of another network a run starts from."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.experiment import starting
from more4d_jax.models import variants
from tests.experiment import configurations

_NANO = variants.get("nano").strag
_KERNEL = "dit/patch_embed/kernel"


def _like(*shape):
  return jax.ShapeDtypeStruct(shape, np.float32)


def _arrays(generator):
  return {
    _KERNEL: generator.standard_normal((1, 2, 2, 48, 8), np.float32),
    "dit/head": generator.standard_normal((8, 3), np.float32),
    "dit/old": generator.standard_normal((2,), np.float32),
  }


@pytest.mark.parametrize("channels", [64, 32])
def test_the_first_channels_are_taken_and_the_rest_is_zero(channels):
  given = _arrays(np.random.default_rng(0))
  wanted = {
    _KERNEL: _like(1, 2, 2, channels, 8),
    "dit/head": _like(8, 3),
    "dit/motion": _like(5),
  }
  found = starting.taken(given, wanted)
  full = np.zeros(wanted[_KERNEL].shape, np.float32)
  common = min(channels, 48)
  full[..., :common, :] = given[_KERNEL][..., :common, :]
  np.testing.assert_array_equal(np.asarray(found.arrays[_KERNEL]), full)
  for part in (slice(0, 20), slice(40, 60), slice(50, 64), slice(31, 33)):
    index = (..., part, slice(2, 5))
    np.testing.assert_array_equal(found.arrays[_KERNEL][index], full[index])
  assert found.arrays["dit/head"] is given["dit/head"]
  assert found.partly == {_KERNEL: f"[:, :, :, 0:{common}, :]"}
  assert found.new == ["dit/motion"]
  assert found.left == ["dit/old"]


def test_each_tensor_that_is_not_taken_whole_is_told(caplog):
  given = _arrays(np.random.default_rng(0))
  wanted = {_KERNEL: _like(1, 2, 2, 64, 8), "dit/head": _like(8, 3)}
  found = starting.taken(given, {**wanted, "dit/motion": _like(5)})
  changed = {"dit.motion_alignment": ("compat", "aligned")}
  with caplog.at_level(logging.INFO, "more4d_jax"):
    found.tell("runs/base", changed)
  told = "\n".join(caplog.messages)
  for line in (
    "1 tensors (2.4e-05 million values) are taken whole from runs/base",
    f"{_KERNEL} (1, 2, 2, 64, 8): [:, :, :, 0:48, :] is taken, the rest is 0",
    "dit/motion: new",
    "dit/old of runs/base: left out",
    "dit.motion_alignment is compat in runs/base and aligned here: motion",
  ):
    assert line in told


def test_a_tensor_of_another_network_is_refused():
  given = {"dit/head": np.zeros((8, 3), np.float32)}
  with pytest.raises(errors.UserError, match=r"\(8, 3\) .* and \(9, 4\) here"):
    starting.taken(given, {"dit/head": _like(9, 4)})


def _check(found, **changes):
  task = configurations.task("strag", **changes)
  starting.check("strag", found, task.network, task.may_differ(found))


def test_depth_and_motion_perception_may_be_new():
  _check(_NANO)
  _check(_NANO.without_depth_latents())
  _check(_NANO.without_motion_perception())
  _check(_NANO.without_motion_perception().without_depth_latents())
  _check(_NANO, **{"model.use_depth_latents": False})
  compat = dataclasses.replace(_NANO.dit, motion_alignment="compat")
  _check(dataclasses.replace(_NANO, dit=compat))
  lora = {"model.lora_rank": 2}
  _check(dataclasses.replace(_NANO, dit=compat), **lora)
  with pytest.raises(errors.UserError, match=r"dit\.in_channels is 48 there"):
    _check(_NANO.without_depth_latents(), **lora)


def test_other_networks_are_refused_by_their_fields():
  deeper = dataclasses.replace(_NANO.dit, num_layers=9)
  other = dataclasses.replace(_NANO, dit=deeper)
  line = r"dit\.num_layers is 9 there and 2 here\): set the same model fields"
  with pytest.raises(errors.UserError, match=line):
    _check(other)
  motion = dataclasses.replace(_NANO.motion, num_layers=7)
  with pytest.raises(errors.UserError, match=r"motion\.num_layers is 7 there"):
    _check(dataclasses.replace(_NANO, motion=motion))


def test_memory_and_machine_are_no_difference():
  changed = dataclasses.replace(_NANO.dit, remat="none", dtype="bfloat16")
  assert not starting.differences(_NANO.dit, changed)
