"""Parameters drawn without compiling a network's initialisation."""

import jax
import numpy as np

from more4d_jax import partitioning


def draw(model, *args, **kwargs):
  """Returns variables of the right shapes: N(0, 1) over root of fan in.

  Vectors, among them norm scales, gates and biases, are N(0, 0.3^2).
  """
  init = lambda key: model.init(key, *args, **kwargs)  # noqa: E731
  shapes = partitioning.unbox(jax.eval_shape(init, jax.random.key(0)))
  rng = np.random.default_rng(0)

  def one(leaf):
    fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 11
    scale = max(fan_in, 4) ** -0.5
    return (scale * rng.normal(size=leaf.shape)).astype(leaf.dtype)

  return jax.tree.map(one, shapes)
