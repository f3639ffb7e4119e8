"""Which point each pixel shows: a depth buffer of tiles.

A tile covers the pixel its centre falls into and every pixel whose centre
lies inside it. A pixel shows the nearest of its tiles. Holes are the pixels
that no tile covers, whatever their colour.

Most tiles reach no farther than the two by two pixels around their centre;
those are drawn in four steps for all points at once. Larger ones are cut
into single pixels, of which equal portions are drawn in a loop that ends with
the last of them: the cost is linear in the points and in the pixels that
tiles cover, and no tile is too large.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from more4d_jax.rendering import surfels as surfels_lib

_PORTION = 2**15  # Pixels of large tiles that are drawn together.
_TILES = 2**12  # Large tiles that are cut together, at most.

# Takes the picture so far, pixel numbers (H * W is nowhere), the numbers of
# the points drawn there, and their depths.
Visit = Callable[
  [Any, Int[Array, "N"], Int[Array, "N"], Float[Array, "N"]], Any
]


@functools.partial(jax.jit, static_argnames=("height", "width"))
def render_points(
  points: Float[Array, "P 3"],
  colours: Float[Array, "P 3"],
  world_from_camera: Float[Array, "4 4"],
  intrinsics: Float[Array, "4"],
  height: int,
  width: int,
  *,
  footprint: Float[Array, "P 2"] | None = None,
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"], Bool[Array, "H W"]]:
  """Renders coloured points without an order from one camera.

  Args:
    points: metres, in the world; those that are not finite are not drawn.
    colours: any range; the background is 0.
    world_from_camera: pose of the camera.
    intrinsics: (fx, fy, cx, cy) in pixels of the rendered image.
    height: H of the rendered image.
    width: W of the rendered image.
    footprint: half width and half height of each point in metres, as the
      camera faces it; None draws single pixels.

  Returns:
    Colour, 0 where nothing was drawn; depth along z in metres, infinite where
    nothing was drawn; and coverage, True where a point was drawn.

  Source: docs/method/rendering.md#z-buffer. Differs from the original: holes
  come from coverage, colour is not truncated, of points with equal depth the
  first one is shown, and there is a footprint.
  """
  if footprint is None:
    footprint = jnp.zeros_like(points[:, :2])
  x, y, depth = surfels_lib.project(points, world_from_camera, intrinsics)
  tiles = surfels_lib.facing(x, y, depth, footprint, intrinsics)
  index = front_points(tiles, height, width, splat=1.0)
  return (
    colours.at[index].get(mode="fill", fill_value=0.0),
    tiles.depth.at[index].get(mode="fill", fill_value=jnp.inf),
    index < len(points),
  )


def front_points(
  tiles: surfels_lib.Surfels, height: int, width: int, splat: float
) -> Int[Array, "H W"]:
  """Number of the point that each pixel shows; P where there is none.

  Args:
    tiles: on the screen.
    height: H of the picture.
    width: W of the picture.
    splat: half size of a tile in its own steps.

  Returns: the nearest point; of equally near ones that of the lowest number.
  """
  count = len(tiles.x)
  visit_all = _Cover(tiles, height, width, splat)

  def nearest(depth, pixel, point, near):
    del point
    return depth.at[pixel].min(near, mode="drop")

  depth = jnp.full(height * width, jnp.inf, jnp.float32)
  depth = visit_all(nearest, depth)

  def first(index, pixel, point, near):
    shown = near == depth.at[pixel].get(mode="fill", fill_value=-1.0)
    pixel = jnp.where(shown, pixel, height * width)
    return index.at[pixel].min(point, mode="drop")

  index = jnp.full(height * width, count, jnp.int32)
  return visit_all(first, index).reshape(height, width)


class _Cover:
  """Calls a visitor with every pixel of every tile."""

  def __init__(self, tiles, height, width, splat):
    self.tiles, self.splat = tiles, splat
    self.height, self.width = height, width
    half_x, half_y = tiles.bounds(splat)
    # Columns and rows whose centres the box holds, cut at the borders.
    self.own = _own_pixel(tiles.x, width), _own_pixel(tiles.y, height)
    self.left, self.right = _span(tiles.x, half_x, self.own[0], width)
    self.top, self.bottom = _span(tiles.y, half_y, self.own[1], height)
    # The first of the two columns and rows that lie closest to the centre.
    self.column = _whole(tiles.x - 0.5)
    self.row = _whole(tiles.y - 0.5)
    drawn = jnp.isfinite(tiles.depth)
    drawn &= (self.left <= self.right) & (self.top <= self.bottom)
    small = (self.left >= self.column) & (self.right <= self.column + 1)
    small &= (self.top >= self.row) & (self.bottom <= self.row + 1)
    self.small, self.large = drawn & small, drawn & ~small

  def __call__(self, visit: Visit, state: Any) -> Any:
    """The state after all visits, each given to `visit` once."""
    point = jnp.arange(len(self.tiles.x))

    def step(i, state):
      column, row = self.column + i % 2, self.row + i // 2
      drawn = self.small & self._inside(self.tiles, self.own, column, row)
      drawn &= (column >= self.left) & (column <= self.right)
      drawn &= (row >= self.top) & (row <= self.bottom)
      pixel = self._number(drawn, column, row)
      return visit(state, pixel, point, self.tiles.depth)

    # A loop, not four copies: compilers would compute the tiles in each.
    state = jax.lax.fori_loop(0, 4, step, state)
    return jax.lax.cond(
      jnp.any(self.large),
      lambda state: self._visit_large(visit, state),
      lambda state: state,
      state,
    )

  def _inside(self, tiles, own, column, row):
    u, v = tiles.local(column + 0.5, row + 0.5)
    inside = jnp.maximum(jnp.abs(u), jnp.abs(v)) <= self.splat
    return inside | ((column == own[0]) & (row == own[1]))

  def _number(self, drawn, column, row):
    return jnp.where(drawn, row * self.width + column, self.height * self.width)

  def _visit_large(self, visit: Visit, state: Any) -> Any:
    order = _numbers(self.large)
    count, area = len(order), self.height * self.width
    # So few tiles at a time that their pixels can be counted in 32 bits.
    tiles = max(1, min(_TILES, count, (2**31 - 1 - _PORTION) // area))
    order = jnp.pad(order, (0, tiles), constant_values=count)
    end = jnp.sum(self.large)

    def batch(carry):
      first, state = carry
      chosen = jax.lax.dynamic_slice(order, (first,), (tiles,))
      return first + tiles, self._visit_batch(visit, state, chosen)

    start = jnp.zeros((), end.dtype), state
    return jax.lax.while_loop(lambda c: c[0] < end, batch, start)[1]

  def _visit_batch(
    self, visit: Visit, state: Any, chosen: Int[Array, "N"]
  ) -> Any:
    """Cuts some large tiles into pixels and draws these in portions."""

    def take(values):
      return values.at[chosen].get(mode="clip")

    tiles, own = jax.tree.map(take, (self.tiles, self.own))
    left, top = take(self.left), take(self.top)
    wide = take(self.right) - left + 1
    number = wide * (take(self.bottom) - top + 1)
    number = jnp.where(chosen < len(self.tiles.x), number, 0)
    ends = jnp.cumsum(number)
    starts = ends - number

    def portion(carry):
      first, state = carry
      position = jnp.clip(starts - first, 0, _PORTION)
      begins = (number > 0) & (ends > first)
      position = jnp.where(begins, position, _PORTION)
      owner = jnp.zeros(_PORTION, jnp.int32)
      owner = owner.at[position].max(jnp.arange(len(chosen)), mode="drop")
      owner = jax.lax.cummax(owner)
      item = first + jnp.arange(_PORTION)
      rank = item - starts[owner]
      column = left[owner] + rank % wide[owner]
      row = top[owner] + rank // wide[owner]
      mine, centre = jax.tree.map(lambda v: v[owner], (tiles, own))
      drawn = self._inside(mine, centre, column, row) & (item < ends[-1])
      pixel = self._number(drawn, column, row)
      state = visit(state, pixel, chosen[owner], mine.depth)
      return first + _PORTION, state

    start = jnp.zeros((), ends.dtype), state
    return jax.lax.while_loop(lambda c: c[0] < ends[-1], portion, start)[1]


def _numbers(chosen: Bool[Array, "P"]) -> Int[Array, "P"]:
  """Numbers of the True ones, then P; `jnp.nonzero` takes twice as long."""
  count = len(chosen)
  place = jnp.where(chosen, jnp.cumsum(chosen) - 1, count)
  order = jnp.full(count, count, jnp.int32)
  return order.at[place].set(jnp.arange(count), mode="drop")


def _whole(values: Float[Array, "*P"]) -> Int[Array, "*P"]:
  """Rounds down; far positions stay within the range of integers."""
  return jnp.clip(jnp.floor(values), -1e6, 1e6).astype(jnp.int32)


def _own_pixel(position: Float[Array, "*P"], size: int) -> Int[Array, "*P"]:
  """Pixel that holds each position; the far edge belongs to the last one."""
  return _whole(position) - (position == size).astype(jnp.int32)


def _span(
  centre: Float[Array, "*P"],
  half: Float[Array, "*P"],
  own: Int[Array, "*P"],
  size: int,
) -> tuple[Int[Array, "*P"], Int[Array, "*P"]]:
  """First and last pixel inside the picture; empty where the two cross."""
  first = jnp.minimum(-_whole(half - centre + 0.5), own)
  last = jnp.maximum(_whole(centre + half - 0.5), own)
  return jnp.maximum(first, 0), jnp.minimum(last, size - 1)
