"""Which points another camera sees.

Source: docs/method/view_completion.md#training.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from more4d_jax.rendering import edges, render_video
from more4d_jax.rendering import surfels as surfels_lib


@functools.partial(jax.jit, static_argnames=("options",))
def seen_points(
  tracks: Float[Array, "T h w 3"],
  poses: Float[Array, "T 4 4"],
  camera: Float[Array, "T 4"],
  source: Float[Array, "4"],
  options: render_video.RenderOptions,
) -> Bool[Array, "T h w"]:
  """True where a point lies in the picture with nothing before it.

  Args:
    tracks: metres, in the first camera's frame.
    poses: world_from_camera of every frame.
    camera: intrinsics per frame, in pixels of the video.
    source: intrinsics of the first camera, in pixels of the grid.
    options: with a positive height and width; a point is hidden where all
      that is shown around it is nearer by more than their edge threshold.
  """
  size = options.height, options.width
  black = jnp.zeros((*tracks.shape[1:3], 3), jnp.float32)
  _, nearest, _ = render_video.render_frames(
    tracks, black, poses, camera, source, options
  )

  surfaces = edges.find(tracks[0], options.edge_threshold)

  def frame(
    inputs: tuple[Array, Array, Array, Array],
  ) -> Bool[Array, "h w"]:
    points, pose, lens, front = inputs
    x, y, depth = surfels_lib.project(surfaces.move(points), pose, lens)
    column, row = jnp.floor(x), jnp.floor(y)
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    column = jnp.where(inside, column, 0).astype(jnp.int32)
    row = jnp.where(inside, row, 0).astype(jnp.int32)
    # A slope seen from its edge falls by more than that within a pixel.
    around = jax.lax.reduce_window(
      front, 0.0, jax.lax.max, (3, 3), (1, 1), "SAME"
    )
    behind = depth > (1 + options.edge_threshold) * around[row, column]
    return inside & jnp.isfinite(depth) & ~behind

  return jax.lax.map(frame, (tracks, poses, camera, nearest))
