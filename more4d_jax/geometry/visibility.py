"""Which points of a scene the first camera sees."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from more4d_jax.geometry import cameras


def visible_points(
  tracks: Float[Array, "T H W 3"],
  intrinsics: Float[Array, "4"],
  tolerance: float = 0.02,
) -> Bool[Array, "T H W"]:
  """A depth test at every frame, along the camera of frame 0.

  A point is visible where it falls inside the picture and no point in the
  same pixel lies nearer by more than `tolerance` of its depth. In frame 0
  every point in front of the camera is visible: each is what its pixel shows.

  Args:
    tracks: metres, in the first camera's frame.
    intrinsics: (fx, fy, cx, cy) in pixels of the grid (H, W).
    tolerance: share of the depth; neighbours of one surface share a pixel.
  """
  height, width = tracks.shape[1:3]

  def frame(points: Float[Array, "H W 3"]) -> Bool[Array, "H W"]:
    xy, z = cameras.project(points, intrinsics)
    inside = (z > 0) & jnp.all(
      (xy >= 0) & (xy < jnp.asarray([width, height])), axis=-1
    )
    cell = jnp.floor(jnp.where(inside[..., None], xy, 0)).astype(jnp.int32)
    flat = cell[..., 1] * width + cell[..., 0]
    index = jnp.where(inside, flat, height * width)
    nearest = jnp.full(height * width, jnp.inf).at[index].min(z, mode="drop")
    front = nearest.at[index].get(mode="fill", fill_value=0.0)
    return inside & (z <= front * (1 + tolerance))

  later = jax.lax.map(frame, tracks[1:])
  return jnp.concatenate([tracks[:1, ..., 2] > 0, later])
