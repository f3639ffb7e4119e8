"""Every network runs with weights that are stored in half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning, registry
from more4d_jax.checkpoints import dtypes
from more4d_jax.models import variants
from more4d_jax.models.encoders import text

pytestmark = pytest.mark.slow

_DENOISERS = ("strag", "vism")


def _inputs(variant, kind):
  clip = (1, variant.frames, variant.height, variant.width, 3)
  shape = lambda *s, dtype=jnp.float32: jax.ShapeDtypeStruct(s, dtype)  # noqa: E731
  if kind == "depth":
    return (shape(1, *clip[2:]),)
  if kind not in _DENOISERS:
    return (shape(*clip),)
  length = getattr(variant, kind).text.length
  return (
    shape(1, *variant.latent_grid, 16),
    shape(1, length, dtype=jnp.int32),
    shape(1, *clip[2:]),
  )


@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
@pytest.mark.parametrize("size", ["nano", "1p3b"])
@pytest.mark.parametrize("kind", registry.NETWORKS)
def test_every_network_takes_half_precision(kind, size, stored):
  variant = variants.get(size)
  config = getattr(variant, kind)
  if stored == "bfloat16":
    config = dtypes.computing_in(config, stored)
  module = registry.NETWORKS[kind].module_class(config)
  method = "initialise" if kind in _DENOISERS else "__call__"
  inputs = _inputs(variant, kind)

  def init(key, *inputs):
    return module.init(key, *inputs, method=method)["params"]

  params = partitioning.unbox(jax.eval_shape(init, jax.random.key(0), *inputs))
  half = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(stored)), params
  )

  def run(params, *inputs):
    return module.apply({"params": params}, *inputs, method=method)

  found = jax.eval_shape(run, half, *inputs)
  whole = jax.eval_shape(run, params, *inputs)
  assert jax.tree.leaves(whole)
  # What comes out is as exact as with whole weights.
  assert jax.tree.map(str, found) == jax.tree.map(str, whole)


def test_features_of_a_text_encoder_in_bfloat16_are_close():
  config = variants.get("nano").strag.text
  module, tokens = text.TextEncoder(config), jnp.asarray([[3, 9, 4, 1, 0, 0]])
  params = partitioning.unbox(module.init(jax.random.key(0), tokens)["params"])
  expected = module.apply({"params": params}, tokens)
  half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
  module = text.TextEncoder(dtypes.computing_in(config, "bfloat16"))
  found = module.apply({"params": half}, tokens)
  off = np.abs(found - expected).max() / np.abs(expected).max()
  assert 1e-5 < off < 0.05  # Eight bits of a few factors in turn.
