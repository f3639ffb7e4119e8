"""Trajectories seen along a camera path: video, depth and coverage."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt8

from more4d_jax.geometry import cameras
from more4d_jax.rendering import edges, fill, zbuffer
from more4d_jax.rendering import surfels as surfels_lib


@dataclasses.dataclass(frozen=True)
class RenderOptions:
  """Size of the video and of the points.

  Attributes:
    height: H of the video; 0 takes the height of the scene's grid.
    width: W of the video; 0 takes the width of the scene's grid.
    splat: half size of a point in steps to its neighbours on the same
      surface, as the camera sees them, so that a surface has no cracks from
      near by or at any size of the video. 0.5 to 1 leaves the view of the
      first camera exactly as it was. 0 draws single pixels.
    edge_threshold: relative change of depth at which one surface ends and
      another begins. Points on the ramp between two surfaces go to one of
      them. 0 leaves every point where it is.
    fill: True gives holes the colours of what lies behind them; they remain
      holes in the coverage.
  """

  height: int = 0
  width: int = 0
  splat: float = 0.7
  edge_threshold: float = 0.05
  fill: bool = False

  def __post_init__(self):
    numbers = (self.height, self.width, self.splat, self.edge_threshold)
    if not min(numbers) >= 0:
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
    The video, black where nothing was drawn unless it is filled, and its
    coverage.
  """
  options = options or RenderOptions()
  grid = tracks.shape[1:3]
  size = (options.height or grid[0], options.width or grid[1])
  source = jnp.asarray(intrinsics, jnp.float32)
  if camera_intrinsics is None:
    camera = jnp.broadcast_to(source, (len(tracks), 4))
  else:
    camera = jnp.asarray(camera_intrinsics, jnp.float32)
  video, coverage = render_bytes(
    jnp.asarray(tracks, jnp.float32),
    as_float(colours),
    jnp.asarray(poses, jnp.float32),
    cameras.rescale_intrinsics(camera, grid, size),
    source,
    dataclasses.replace(options, height=size[0], width=size[1]),
  )
  return np.asarray(video), np.asarray(coverage)


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
  surfaces = edges.find(tracks[0], options.edge_threshold)
  frame = functools.partial(_frame, surfaces, colours, source, options)
  return jax.lax.map(frame, (tracks, poses, camera))


@functools.partial(jax.jit, static_argnames=("options",))
def render_bytes(
  tracks: Float[Array, "T h w 3"],
  colours: Float[Array, "h w 3"],
  poses: Float[Array, "T 4 4"],
  camera: Float[Array, "T 4"],
  source: Float[Array, "4"],
  options: RenderOptions,
) -> tuple[UInt8[Array, "T H W 3"], Bool[Array, "T H W"]]:
  """`render_frames` with bytes, without depth, so that little is held."""
  surfaces = edges.find(tracks[0], options.edge_threshold)

  def frame(inputs):
    colour, _, coverage = _frame(surfaces, colours, source, options, inputs)
    return jnp.rint(colour * 255.0).astype(jnp.uint8), coverage

  return jax.lax.map(frame, (tracks, poses, camera))


def on_surfaces(
  tracks: Float[np.ndarray, "T h w 3"], edge_threshold: float
) -> Float[np.ndarray, "T h w 3"]:
  """Points as they are drawn, float32; NaN where one belongs to no surface.

  Args:
    tracks: metres, in the first camera's frame.
    edge_threshold: positive, see `RenderOptions`.
  """
  first = jnp.asarray(tracks[0], jnp.float32)
  surfaces = _find_surfaces(first, edge_threshold)
  moved = np.empty(tracks.shape, np.float32)
  for frame, points in zip(moved, tracks):
    frame[...] = _move(surfaces, jnp.asarray(points, jnp.float32))
  return moved


_find_surfaces = jax.jit(edges.find, static_argnames=("threshold",))
_move = jax.jit(edges.Surfaces.move)


def _frame(
  surfaces: edges.Surfaces,
  colours: Float[Array, "h w 3"],
  source: Float[Array, "4"],
  options: RenderOptions,
  inputs: tuple[Float[Array, "h w 3"], Float[Array, "4 4"], Float[Array, "4"]],
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"], Bool[Array, "H W"]]:
  points, pose, camera = inputs
  points = surfaces.move(points)
  x, y, depth = surfels_lib.project(points, pose, camera)
  size = surfaces.first[..., 2:] / source[:2]
  alone = surfels_lib.facing(x, y, depth, size, camera)
  right, down = surfaces.links(points)
  tiles = surfels_lib.on_grid(x, y, depth, right, down, alone)

  def draw(tiles, right, down):
    index = zbuffer.front_points(
      tiles, options.height, options.width, options.splat
    )
    depth = tiles.depth.at[index].get(mode="fill", fill_value=jnp.inf)
    if options.splat > 0:
      colour = _textured(tiles, index, colours, right, down)
    else:
      colour = colours.reshape(-1, 3).at[index].get(mode="clip")
    covered = index < tiles.x.size
    colour = jnp.where(covered[..., None], colour, 0.0)
    if options.fill:
      colour = fill.fill_frame(colour, depth, covered)
    return colour, depth, covered

  def nothing(*_):
    shape = options.height, options.width
    depth = jnp.full(shape, jnp.inf, jnp.float32)
    return jnp.zeros((*shape, 3)), depth, jnp.zeros(shape, bool)

  # Beside saving work, a branch makes compilers keep the tiles, which they
  # would otherwise compute again wherever one is read.
  return jax.lax.cond(
    jnp.any(jnp.isfinite(depth)),
    draw,
    nothing,
    jax.tree.map(jnp.ravel, tiles),
    right,
    down,
  )


def _textured(
  tiles: surfels_lib.Surfels,
  index: Int[Array, "H W"],
  colours: Float[Array, "h w 3"],
  right: Bool[Array, "h w"],
  down: Bool[Array, "h w"],
) -> Float[Array, "H W 3"]:
  """Colours of the picture between the points that the pixels show.

  A pixel's place on its tile is a place in the picture; colours are
  interpolated there, but not with those of another surface.
  """
  width = colours.shape[1]

  def take(values):
    return values.ravel().at[index].get(mode="clip")

  height_out, width_out = index.shape
  column = jnp.arange(width_out, dtype=jnp.float32) + 0.5
  row = jnp.arange(height_out, dtype=jnp.float32)[:, None] + 0.5
  u, v = jax.tree.map(take, tiles).local(column, row)
  left, up = jnp.roll(right, 1, axis=1), jnp.roll(down, 1, axis=0)
  index = jnp.minimum(index, tiles.x.size - 1)
  step_x, u = _beside(u, take(left), take(right))
  step_y, v = _beside(v, take(up), take(down))
  flat = colours.reshape(-1, 3)
  u, v = u[..., None], v[..., None]
  above = flat[index] * (1 - u) + flat[index + step_x] * u
  index = index + step_y * width
  below = flat[index] * (1 - u) + flat[index + step_x] * u
  return above * (1 - v) + below * v


def _beside(
  place: Float[Array, "H W"],
  before: Bool[Array, "H W"],
  after: Bool[Array, "H W"],
) -> tuple[Int[Array, "H W"], Float[Array, "H W"]]:
  """Step to the neighbour on that side, and its weight."""
  allowed = jnp.where(place < 0, before, after)
  step = jnp.where(allowed, jnp.where(place < 0, -1, 1), 0)
  return step, jnp.minimum(jnp.abs(place), 1.0)


def as_float(
  colours: Shaped[np.ndarray | Array, "*P 3"],
) -> Float[Array, "*P 3"]:
  """Colours in [0, 1] from uint8 or float."""
  if colours.dtype == np.uint8:
    return jnp.asarray(colours, jnp.float32) / 255.0
  return jnp.asarray(colours, jnp.float32)
