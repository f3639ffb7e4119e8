"""Points of a scene in the cameras that film it, and in their films."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from more4d_jax.geometry import cameras, visibility


def in_each_camera(
  tracks: Float[np.ndarray, "T H W 3"], poses: Float[np.ndarray, "T 4 4"]
) -> Float[np.ndarray, "T H W 3"]:
  """Points of the first camera's frame in the frames of `poses`."""
  moved = tracks - poses[:, None, None, :3, 3]
  return np.einsum("thwi,tij->thwj", moved, poses[:, :3, :3])


def seen(
  points: Float[np.ndarray, "T H W 3"], intrinsics: Float[np.ndarray, "4"]
) -> Bool[np.ndarray, "T H W"]:
  """Which points a camera sees, in whose frame they are.

  In frame 0 it is all in front of it: right for the camera of the picture.
  """
  return np.asarray(_visible(jnp.asarray(points), jnp.asarray(intrinsics)))


_visible = jax.jit(visibility.visible_points)


def path_difference(
  tracks: Float[np.ndarray, "T H W 3"],
  intrinsics: Float[np.ndarray, "4"],
  poses: Sequence[Float[np.ndarray, "T 4 4"]],
  films: Sequence[UInt8[np.ndarray, "T H W 3"]],
) -> float:
  """How much the colours of points differ between the films of two cameras.

  Args:
    tracks: the scene that both show, in the first camera's frame.
    intrinsics: (fx, fy, cx, cy) in pixels of tracks and films.
    poses: world_from_camera of both.
    films: of both.

  Returns: mean absolute difference in grey levels of 255, over the points and
    frames from 1 on that both see; NaN where there are none.
  """
  points = [in_each_camera(tracks, path) for path in poses]
  first, second = (seen(there, intrinsics) for there in points)
  both = first & second
  both[0] = False  # All points count as seen there, also hidden ones.
  if not both.any():
    return float("nan")
  colours = [
    _colours(there, intrinsics, film, both)
    for there, film in zip(points, films)
  ]
  return float(np.abs(colours[0] - colours[1]).mean())


def _colours(
  points: Float[np.ndarray, "T H W 3"],
  intrinsics: Float[np.ndarray, "4"],
  film: UInt8[np.ndarray, "T H W 3"],
  chosen: Bool[np.ndarray, "T H W"],
) -> Float[np.ndarray, "N 3"]:
  """Colours of the pixels that points fall into."""
  xy, _ = cameras.project(jnp.asarray(points), jnp.asarray(intrinsics))
  column, row = np.floor(np.asarray(xy)[chosen]).astype(int).T
  return film[np.nonzero(chosen)[0], row, column].astype(np.float64)
