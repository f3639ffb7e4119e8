"""Trajectories seen along a camera path: video and coverage."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped, UInt8

from more4d_jax.geometry import cameras
from more4d_jax.rendering import zbuffer


@dataclasses.dataclass(frozen=True)
class RenderOptions:
  """Size of the video and of the points.

  Attributes:
    height: H of the video; 0 takes the height of the scene's grid.
    width: W of the video; 0 takes the width of the scene's grid.
    splat: half size of a point in pixels of the first camera; a point keeps
      the metric size that this gives it in frame 0. 0.5 to 1 leaves the view
      of the first camera exactly as it was; 0.7 also closes the cracks of
      surfaces turned by up to 45 degrees. 0 draws single pixels.
    max_radius: bound on a point's reach, in pixels of the video.
  """

  height: int = 0
  width: int = 0
  splat: float = 0.7
  max_radius: int = 2

  def __post_init__(self):
    if self.height < 0 or self.width < 0 or self.splat < 0:
      raise ValueError(f"sizes must not be negative: {self}")


def render_video(
  tracks: Float[np.ndarray | Array, "T h w 3"],
  colours: Shaped[np.ndarray | Array, "h w 3"],
  poses: Float[np.ndarray | Array, "T 4 4"],
  intrinsics: Float[np.ndarray | Array, "4"],
  options: RenderOptions | None = None,
  *,
  camera_intrinsics: Float[np.ndarray | Array, "T 4"] | None = None,
) -> tuple[UInt8[np.ndarray, "T H W 3"], Bool[np.ndarray, "T H W"]]:
  """Renders one scene; frame i shows the points of time i.

  Args:
    tracks: metres, in the first camera's frame.
    colours: uint8, or float in [0, 1].
    poses: world_from_camera of every frame.
    intrinsics: (fx, fy, cx, cy) in pixels of the scene's grid (h, w).
    options: size of the video and of the points.
    camera_intrinsics: the video camera's own, per frame, in pixels of the
      scene's grid; `intrinsics` by default.

  Returns:
    The video, black where nothing was drawn, and its coverage.
  """
  options = options or RenderOptions()
  grid = tracks.shape[1:3]
  size = (options.height or grid[0], options.width or grid[1])
  source = jnp.asarray(intrinsics, jnp.float32)
  if camera_intrinsics is None:
    camera = jnp.broadcast_to(source, (len(tracks), 4))
  else:
    camera = jnp.asarray(camera_intrinsics, jnp.float32)
  colour, _, coverage = render_frames(
    jnp.asarray(tracks, jnp.float32),
    as_float(colours),
    jnp.asarray(poses, jnp.float32),
    cameras.rescale_intrinsics(camera, grid, size),
    source,
    dataclasses.replace(options, height=size[0], width=size[1]),
  )
  video = np.rint(np.asarray(colour) * 255.0).astype(np.uint8)
  return video, np.asarray(coverage)


@functools.partial(jax.jit, static_argnames=("options",))
def render_frames(
  tracks: Float[Array, "T h w 3"],
  colours: Float[Array, "h w 3"],
  poses: Float[Array, "T 4 4"],
  camera: Float[Array, "T 4"],
  source: Float[Array, "4"],
  options: RenderOptions,
) -> tuple[
  Float[Array, "T H W 3"], Float[Array, "T H W"], Bool[Array, "T H W"]
]:
  """`render_video` on the device: colour in [0, 1], depth, coverage.

  Args:
    tracks: metres, in the first camera's frame.
    colours: in [0, 1].
    poses: world_from_camera of every frame.
    camera: intrinsics per frame, in pixels of the video.
    source: intrinsics of the first camera, in pixels of the grid.
    options: with a positive height and width.
  """
  flat = colours.reshape(-1, 3)
  footprint = None
  if options.splat > 0:
    footprint = point_footprint(tracks[0], source, options.splat)
    footprint = footprint.reshape(-1, 2)

  def frame(inputs):
    points, pose, intrinsics = inputs
    return zbuffer.render_points(
      points.reshape(-1, 3),
      flat,
      pose,
      intrinsics,
      options.height,
      options.width,
      footprint=footprint,
      max_radius=options.max_radius,
    )

  return jax.lax.map(frame, (tracks, poses, camera))


def point_footprint(
  first_points: Float[Array, "h w 3"],
  intrinsics: Float[Array, "4"],
  splat: float,
) -> Float[Array, "h w 2"]:
  """Half size in metres that spans `splat` pixels of the first camera."""
  return splat * first_points[..., 2:] / intrinsics[:2]


def as_float(
  colours: Shaped[np.ndarray | Array, "*P 3"],
) -> Float[Array, "*P 3"]:
  """Colours in [0, 1] from uint8 or float."""
  if colours.dtype == np.uint8:
    return jnp.asarray(colours, jnp.float32) / 255.0
  return jnp.asarray(colours, jnp.float32)
