"""Shapes of a network's parameters and the names of their axes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

_CLIP = (1, 5, 32, 48, 3)  # What every network takes, whatever its size.
_LATENTS = (1, 2, 4, 6, 16)


def boxed_shapes(kind: str, module: nn.Module) -> Any:
  """Parameters of a network, boxed, from its configuration alone.

  Args:
    kind: a row of `registry.NETWORKS`.
    module: of that kind.
  """
  method = "__call__"
  if kind == "depth":
    shapes = [(1, *_CLIP[2:])]
  elif kind in ("video_vae", "motion_vae"):
    shapes = [_CLIP]
  else:
    method = "initialise"
    shapes = [_LATENTS, (1, module.config.text.length), (1, *_CLIP[2:])]
  types = [jnp.float32, jnp.int32, jnp.float32]
  inputs = [jnp.zeros(shape, dtype) for shape, dtype in zip(shapes, types)]
  return jax.eval_shape(
    lambda key: module.init(key, *inputs, method=method)["params"],
    jax.random.key(0),
  )
