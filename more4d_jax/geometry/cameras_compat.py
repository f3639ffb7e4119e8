"""The original's cameras, as its weights know them.

Its intrinsics are a 3x3 matrix in units of the image size, and positions run
from 0 to 1. `cameras` is what everything else uses.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Constant source size (H, W) of the original's inference
# (docs/method/trajectories.md#camera-factors).
INFERENCE_SOURCE = (540, 960)


def aspect_alpha(
  source: tuple[int, int], size: tuple[int, int]
) -> tuple[float, float]:
  """Camera factors (ax, ay), also focal lengths in units of the image size.

  Args:
    source: (H, W) of the picture.
    size: (H, W) that the networks work at.

  Source: docs/method/trajectories.md#camera-factors; a convention, not the
  camera of the picture.
  """
  if source[1] / size[1] > source[0] / size[0]:
    return 1.0, (source[1] / source[0]) / (size[1] / size[0])
  return (source[0] / source[1]) / (size[0] / size[1]), 1.0


def lift(
  position: Float[Array, "*P 2"],
  depth: Float[Array, "*P"],
  matrix: Float[Array, "3 3"],
) -> Float[Array, "*P 3"]:
  """Camera-space points at positions in [0, 1] and depths along z."""
  one = jnp.ones_like(position[..., :1])
  homogeneous = jnp.concatenate([position, one], axis=-1)
  inverse = jnp.linalg.inv(matrix)
  # Written as sums to stay exact on accelerators.
  rays = sum(inverse[:, i] * homogeneous[..., i : i + 1] for i in range(3))
  return rays * depth[..., None]
