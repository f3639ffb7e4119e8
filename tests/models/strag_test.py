import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.models import strag, variants

NANO = variants.get("nano")


def _inputs(config):
  rng = np.random.default_rng(0)
  return (
    jnp.asarray(rng.normal(size=(2, *NANO.latent_grid, 16)), jnp.float32),
    jnp.asarray(rng.integers(2, 250, (2, config.text.length)), jnp.int32),
    jnp.asarray(rng.uniform(size=(2, NANO.height, NANO.width, 3)), "f4"),
  )


@pytest.mark.parametrize(
  "config",
  [
    NANO.strag,
    NANO.strag.without_motion_perception(),
    NANO.strag.with_global_motion_feature(),
    NANO.strag.without_depth_latents(),
  ],
  ids=["full", "no_mpm", "global", "no_depth"],
)
def test_every_trained_parameter_of_each_ablation_has_a_gradient(config):
  model = strag.STraG(config)
  inputs = _inputs(config)
  params = partitioning.unbox(
    jax.jit(lambda k: model.init(k, *inputs, method="everything"))(
      jax.random.key(0)
    )
  )
  # Away from the zeros that hide what lies behind them at the first step.
  params = jax.tree.map(
    lambda p: p + 0.05 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), params
  )

  def loss(params):
    out = model.apply(params, *inputs, method="everything")
    return jnp.mean(jnp.square(out - inputs[0]))

  grads = jax.jit(jax.grad(loss))(params)
  for path, grad in jax.tree_util.tree_flatten_with_path(grads)[0]:
    name = jax.tree_util.keystr(path)
    assert np.all(np.isfinite(grad)), name
    # A bias of keys moves all scores of a query alike: softmax ignores it.
    if "['k']['bias']" not in name:
      assert np.any(grad), name
  assert ("motion_encoder" in params["params"]) == (config.motion is not None)


def test_global_feature_is_the_mean_over_patches():
  config = NANO.strag
  inputs = _inputs(config)
  params = partitioning.unbox(
    strag.STraG(config).init(jax.random.key(0), *inputs, method="everything")
  )
  patches, whole = (
    strag.STraG(c).apply(params, inputs[2], method="motion_features")
    for c in (config, config.with_global_motion_feature())
  )
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
