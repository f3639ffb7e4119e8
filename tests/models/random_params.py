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


def spread(shapes):
  """Parameters of a network, spread as trained ones are.

  Values of kernels are Student's t of five degrees of freedom, whose tails are
  heavy, over the root of the fan in. Those of linear maps have a size of each
  output, log-normal with deviation 0.5, and of each input, with 0.25. Vectors
  are as in `draw`.

  Args:
    shapes: without boxes.
  """
  rng = np.random.default_rng(0)

  def one(path, leaf):
    names = [key.key for key in path]
    if names[-1] != "kernel":
      return (0.3 * rng.normal(size=leaf.shape)).astype(np.float32)
    *inputs, outputs = leaf.shape["blocks" in names :]
    variance = 5 / 3  # Of Student's t.
    values = rng.standard_t(5, size=leaf.shape)
    values /= (variance * np.prod(inputs)) ** 0.5
    if len(inputs) == 1:
      stack = leaf.shape[:-2]
      values *= rng.lognormal(sigma=0.5, size=(*stack, 1, outputs))
      values *= rng.lognormal(sigma=0.25, size=(*stack, *inputs, 1))
    return values.astype(np.float32)

  return jax.tree_util.tree_map_with_path(one, shapes)
