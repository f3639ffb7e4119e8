"""Published depth networks: their sizes, and what their files must state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import errors, partitioning
from more4d_jax.models.encoders import depth, depth_presets
from more4d_jax.name_maps import depth_anything, matching

_TABLE = depth_anything.DEPTH_ANYTHING
_METRIC = {"depth_estimation_type": "metric", "max_depth": 20}


@functools.cache
def _published(size):
  """Name -> shape of a published file, by our network of that size."""
  network = depth.DepthNetwork(depth_presets.depth_anything(size, "indoor"))
  tree = jax.eval_shape(
    lambda key: network.init(key, jnp.zeros((1, 28, 28, 3)))["params"],
    jax.random.key(0),
  )
  flat = matching.flatten(partitioning.unbox(tree))
  ours = {path: tuple(leaf.shape) for path, leaf in flat.items()}
  found = matching.match_params(_TABLE, ours)
  shapes = {entry.name: entry.shape for entry in found.entries}
  for unit, shape in (("weight", (3, 3)), ("bias", ())):
    for n in (1, 2):  # The one branch that the network has no use for.
      name = f"depth_head.scratch.refinenet4.resConfUnit1.conv{n}.{unit}"
      width = found.sizes["F"]
      shapes[name] = (width, width, *shape) if shape else (width,)
  return shapes


@pytest.mark.parametrize("size", depth_presets.SIZES)
def test_sizes_are_those_of_the_published_files(size):
  # Parameters in millions, as the paper's code states them.
  stated = {"small": 24.8, "base": 97.5, "large": 335.3}[size]
  shapes = _published(size)
  count = sum(int(np.prod(shape)) for shape in shapes.values())
  assert count / 1e6 == pytest.approx(stated, abs=0.06)
  found = matching.match(_TABLE, shapes)
  read = depth_anything.Stated.read(_METRIC, transformers=False)
  preset = depth_presets.depth_anything(size, "indoor")
  assert depth_anything.config(found, read) == preset


def test_settings_of_transformers_are_read():
  values = {
    **_METRIC,
    "max_depth": 80,
    "backbone_config": {"num_attention_heads": 6, "out_indices": [3, 6, 9, 12]},
  }
  read = depth_anything.Stated.read(values, transformers=True)
  found = matching.match(_TABLE, _published("small"))
  config = depth_anything.config(found, read)
  assert config.taps == (2, 5, 8, 11)
  assert (config.max_depth, config.position_offset) == (80.0, 0.0)


@pytest.mark.parametrize(
  "values",
  [{}, {"depth_estimation_type": "metric"}, {"depth_estimation_type": "mono"}],
)
def test_a_range_that_nobody_states_is_an_error(values):
  with pytest.raises(errors.UserError, match="max_depth") as caught:
    depth_anything.Stated.read(values, transformers=False)
  assert "\n" not in str(caught.value)


def test_a_trunk_of_another_depth_needs_its_taps():
  shapes = {
    name: shape
    for name, shape in _published("small").items()
    if ".blocks.11." not in name
  }
  found = matching.match(_TABLE, shapes)
  read = depth_anything.Stated.read(_METRIC, transformers=False)
  with pytest.raises(errors.UserError, match="found 11"):
    depth_anything.config(found, read)


def test_a_missing_part_of_a_fused_tensor_is_reported():
  stem = "backbone.encoder.layer.0.attention.attention"
  weights = {
    "backbone.embeddings.cls_token": np.zeros((1, 1, 4)),
    f"{stem}.query.weight": np.zeros((4, 4)),
    f"{stem}.key.weight": np.zeros((4, 4)),
  }
  joined = depth_anything.AsOriginal(weights)
  assert "pretrained.cls_token" in joined
  with pytest.raises(errors.UserError, match=f"not expected.*{stem}.key"):
    matching.match(_TABLE, matching.shapes_of(joined))


def test_unknown_presets():
  with pytest.raises(ValueError, match="small, base, large"):
    depth_presets.depth_anything("giant", "indoor")
