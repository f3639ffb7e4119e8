import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models import strag, variants
from tests.models import random_params

NANO = variants.get("nano")


def _inputs(config):
  rng = np.random.default_rng(0)
  return (
    jnp.asarray(rng.normal(size=(2, *NANO.latent_grid, 16)), jnp.float32),
    jnp.asarray(rng.integers(2, 250, (2, config.text.length)), jnp.int32),
    jnp.asarray(rng.uniform(size=(2, NANO.height, NANO.width, 3)), "f4"),
  )


def test_every_parameter_has_a_gradient():
  config = NANO.strag
  model = strag.STraG(config)
  inputs = _inputs(config)
  params = random_params.draw(model, *inputs, method="initialise")

  def loss(params):
    out = model.apply(params, *inputs, method="initialise")
    return jnp.mean(jnp.square(out - inputs[0]))

  grads = jax.jit(jax.grad(loss))(params)
  for path, grad in jax.tree_util.tree_flatten_with_path(grads)[0]:
    name = jax.tree_util.keystr(path)
    assert np.all(np.isfinite(grad)), name
    # A bias of keys moves all scores of a query alike: softmax ignores it.
    if "['k']['bias']" not in name:
      assert np.any(grad), name


def _shapes(config):
  model = strag.STraG(config)
  return jax.eval_shape(
    lambda key: model.init(key, *_inputs(config), method="initialise"),
    jax.random.key(0),
  )["params"]


def test_ablations_leave_out_what_they_name():
  full = _shapes(NANO.strag)
  blind = _shapes(NANO.strag.without_motion_perception())
  assert set(full) - set(blind) == {"motion_encoder"}
  assert set(full["dit"]) - set(blind["dit"]) == {"motion_aligner"}
  assert set(full["dit"]["blocks"]) - set(blind["dit"]["blocks"]) == {
    "madanorm_attn",
    "madanorm_ffn",
  }
  whole = _shapes(NANO.strag.with_global_motion_feature())
  assert set(full["dit"]) - set(whole["dit"]) == {"motion_aligner"}
  flat = _shapes(NANO.strag.without_depth_latents())
  kernel = flat["dit"]["patch_embed"]["kernel"].value
  assert kernel.shape[3] == 48


def test_global_feature_is_the_mean_over_patches():
  config = NANO.strag
  inputs = _inputs(config)
  params = random_params.draw(strag.STraG(config), *inputs, method="initialise")

  def features(config):
    model = strag.STraG(config)
    apply = functools.partial(model.apply, method="motion_features")
    return jax.jit(apply)(params, inputs[2])

  patches, whole = map(features, (config, config.with_global_motion_feature()))
  assert patches.shape == (2, 24, 32)
  np.testing.assert_allclose(whole, np.mean(patches, 1), atol=1e-6)


def test_contradicting_switches_are_errors():
  config = NANO.strag
  with pytest.raises(ValueError, match="expected 48 input channels"):
    dataclasses.replace(config, use_depth_latents=False)
  with pytest.raises(ValueError, match="motion_feature must be one of"):
    dataclasses.replace(config, motion_feature="class")
  with pytest.raises(ValueError, match="set both motion and"):
    dataclasses.replace(config, motion=None)
