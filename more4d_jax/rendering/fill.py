"""Holes of a rendering, filled with what lies behind.

A hole opens behind a near surface or at the border of the picture, so what
was hidden continues the far side of it. The colours of that side spread into
the hole from coarse to fine; over them goes the far side's own fine detail,
mirrored at the edge of the hole. Nothing is drawn at random: where the
rendering is steady over time, so is the fill.

Source: the pyramid is that of Gortler et al., The Lumigraph, SIGGRAPH 1996,
section 3.4; here its sources are chosen by depth.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

_NEARER = 0.1  # Relative; what is nearer by more belongs to the near side.
_BAND = 1 / 8  # Of the width; so far from a hole the near side is left out.
_CARRIED = 0.5  # Share of the colour at the far side's edge, carried inwards.
_DETAIL_LEVEL = 3  # Detail is what three halvings of the picture lose.
_DETAIL = 0.6  # Share of it that is kept: less error, still sharp.

Edge = Bool[Array, "H W"]
Columns = Int[Array, "H W"]
Place = tuple[Int[Array, "H W"], Int[Array, "H W"]]  # Rows and columns.


def fill_frame(
  colour: Float[Array, "H W 3"],
  depth: Float[Array, "H W"],
  coverage: Bool[Array, "H W"],
) -> Float[Array, "H W 3"]:
  """The rendering with colours in its holes.

  Args:
    colour: of any range.
    depth: metres; anything outside of `coverage`.
    coverage: True where something was drawn; without any, all is 0.
  """
  inverse = jnp.where(coverage, 1 / jnp.where(coverage, depth, 1), 0)
  behind, edge, mirrored = _far_side(inverse, coverage)
  near = _near_side(inverse, behind, coverage)
  base, blurred = _spread(colour, (coverage & ~near).astype(jnp.float32))
  carried = jnp.where(coverage[edge], _CARRIED, 0.0)[..., None]
  base = (1 - carried) * base + carried * colour[edge]
  # Detail comes from the same surface only, not from beyond its edge.
  row, column = mirrored
  usable = (coverage & ~near)[row, column]
  apart = jnp.abs(inverse[row, column] - behind)
  usable &= apart <= 2 * _NEARER * behind
  detail = jnp.where(coverage[..., None], colour - blurred, 0)[row, column]
  filled = base + _DETAIL * jnp.where(usable[..., None], detail, 0)
  low = jnp.min(colour, axis=(0, 1), where=coverage[..., None], initial=jnp.inf)
  high = jnp.max(colour, axis=(0, 1), where=coverage[..., None], initial=0)
  filled = jnp.clip(filled, jnp.minimum(low, high), high)
  return jnp.where(coverage[..., None], colour, filled)


@functools.partial(jax.jit, static_argnames=("seam",))
def compose(
  rendering: Float[Array, "*T H W 3"],
  filler: Float[Array, "*T H W 3"],
  coverage: Bool[Array, "*T H W"],
  seam: int = 2,
) -> Float[Array, "*T H W 3"]:
  """Rendered pixels where they are sure, else the filler's.

  Args:
    rendering: colours; those outside of `coverage` do not matter.
    filler: colours everywhere.
    coverage: True where something was drawn.
    seam: pixels beside a hole over which one passes into the other.
  """
  # 1 deep inside of the covered part, 0 at its edge; blurred twice.
  sure = _box(coverage.astype(jnp.float32), seam, jax.lax.min, jnp.inf)
  weight = _box(sure, seam, jax.lax.add, 0.0)
  weight /= _window_sizes(*coverage.shape[-2:], seam)
  weight = jnp.where(coverage, jnp.maximum(weight, sure), 0)[..., None]
  return weight * rendering + (1 - weight) * filler


def _window_sizes(height: int, width: int, reach: int) -> np.ndarray:
  """Pixels of the picture in a square window around each, [H W]."""
  rows, columns = (
    np.minimum(np.arange(n), reach) + np.minimum(np.arange(n)[::-1], reach) + 1
    for n in (height, width)
  )
  return np.outer(rows, columns).astype(np.float32)


def _box(values, reach, combine, start):
  """Combines the pixels of a square window around each."""
  ones = (1,) * (values.ndim - 2)
  window = (*ones, 2 * reach + 1, 2 * reach + 1)
  return jax.lax.reduce_window(
    values, start, combine, window, (1,) * values.ndim, "SAME"
  )


def _hits(
  coverage: Bool[Array, "H W"], *, reverse: bool
) -> tuple[Int[Array, "H W"], Bool[Array, "H W"]]:
  """Column of the next covered pixel to the left, or right if `reverse`."""
  width = coverage.shape[1]
  column = jnp.broadcast_to(jnp.arange(width), coverage.shape)
  if reverse:
    found = jax.lax.cummin(
      jnp.where(coverage, column, width), axis=1, reverse=True
    )
    return jnp.minimum(found, width - 1), found < width
  found = jax.lax.cummax(jnp.where(coverage, column, -1), axis=1)
  return jnp.maximum(found, 0), found >= 0


def _far_hit(
  inverse: Float[Array, "H W"], coverage: Bool[Array, "H W"]
) -> tuple[Float[Array, "H W"], Float[Array, "H W"], Edge, Columns, Columns]:
  """The farther one of the two covered pixels beside a hole in its row.

  Returns: its inverse depth (infinite if there is none), its distance in
    pixels, whether the other one is nearer to the camera, its column, and
    the column that mirrors the pixel there.
  """
  width = inverse.shape[1]
  row = jnp.arange(inverse.shape[0])[:, None]
  column = jnp.arange(width)
  left, any_left = _hits(coverage, reverse=False)
  right, any_right = _hits(coverage, reverse=True)
  at_left = jnp.where(any_left, inverse[row, left], jnp.inf)
  at_right = jnp.where(any_right, inverse[row, right], jnp.inf)
  similar = jnp.abs(at_left - at_right) <= _NEARER * at_left
  closer = jnp.abs(column - left) < jnp.abs(right - column)
  use_left = jnp.where(similar, closer, at_left < at_right)
  hit = jnp.where(use_left, left, right)
  mirrored = jnp.clip(2 * hit - column, 0, width - 1)
  edge = any_left & any_right & ~similar
  return (
    jnp.minimum(at_left, at_right),
    jnp.abs(hit - column).astype(jnp.float32),
    edge,
    hit,
    mirrored,
  )


def _far_side(
  inverse: Float[Array, "H W"], coverage: Bool[Array, "H W"]
) -> tuple[Float[Array, "H W"], Place, Place]:
  """What lies behind each hole.

  Looks along rows and columns. A direction with a near and a far end shows
  what lies behind; of two such the nearer far end, for a floor hides the sky.

  Returns: inverse depth, the pixel at the edge, and the one that mirrors the
    hole's there.
  """
  height, width = inverse.shape
  in_row, far_x, edge_x, hit_x, mirror_x = _far_hit(inverse, coverage)
  found = _far_hit(inverse.T, coverage.T)
  in_column, far_y, edge_y, hit_y, mirror_y = (v.T for v in found)
  along_row = jnp.where(edge_x == edge_y, far_x <= far_y, edge_x)
  along_row = jnp.where(edge_x & edge_y, in_row >= in_column, along_row)
  along_row = jnp.where(jnp.isinf(in_row), False, along_row)
  along_row = jnp.where(jnp.isinf(in_column), True, along_row)
  behind = jnp.where(along_row, in_row, in_column)
  row, column = jnp.arange(height)[:, None], jnp.arange(width)

  def place(x, y):
    return jnp.where(along_row, row, y), jnp.where(along_row, x, column)

  behind = jnp.where(jnp.isfinite(behind), behind, 0)
  return behind, place(hit_x, hit_y), place(mirror_x, mirror_y)


def _near_side(
  inverse: Float[Array, "H W"],
  behind: Float[Array, "H W"],
  coverage: Bool[Array, "H W"],
) -> Bool[Array, "H W"]:
  """Covered pixels of what hides a hole, close to it."""
  reach = max(2, round(_BAND * inverse.shape[1]))
  near = jnp.zeros(coverage.shape, bool)
  for turned in (False, True):
    hole, depth = (~coverage, behind)
    if turned:
      hole, depth = hole.T, depth.T
    for reverse in (False, True):
      column, found = _hits(hole, reverse=reverse)
      there = jnp.take_along_axis(depth, column, axis=1)
      apart = jnp.abs(column - jnp.arange(hole.shape[1]))
      mine = inverse.T if turned else inverse
      nearer = found & (apart <= reach) & (mine > (1 + 2 * _NEARER) * there)
      near |= nearer.T if turned else nearer
  return coverage & near


def _spread(
  colour: Float[Array, "H W 3"], weight: Float[Array, "H W"]
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W 3"]]:
  """Colours spread over all pixels, and the picture without its detail."""
  levels = [(colour * weight[..., None], weight)]
  while max(levels[-1][1].shape) > 1:
    levels.append(tuple(_halve(v) for v in levels[-1]))
  filled = None
  for level, (total, amount) in reversed(list(enumerate(levels))):
    # Sums over pixels: a coarse pixel counts fully once it holds one of four.
    own = total / jnp.maximum(amount, 1e-6)[..., None]
    sure = jnp.minimum(amount, 1.0)[..., None]
    if filled is not None:
      filled = _double(filled, own.shape[:2])
      own = sure * own + (1 - sure) * filled
    filled = own
    if level == min(_DETAIL_LEVEL, len(levels) - 1):
      blurred = filled
      for total_finer, _ in reversed(levels[:level]):
        blurred = _double(blurred, total_finer.shape[:2])
  return filled, blurred


def _halve(values: Float[Array, "H W *C"]) -> Float[Array, "h w *C"]:
  """Sums of two by two pixels."""
  for axis in (0, 1):
    odd = values.shape[axis] % 2
    pad = [(0, 0)] * values.ndim
    pad[axis] = (0, odd)
    values = jnp.pad(values, pad)
    shape = list(values.shape)
    shape[axis : axis + 1] = [shape[axis] // 2, 2]
    values = values.reshape(shape).sum(axis + 1)
  return values


def _double(
  values: Float[Array, "h w C"], size: tuple[int, int]
) -> Float[Array, "H W C"]:
  """Interpolates between the centres of pixels to twice as many."""
  for axis in (0, 1):
    values = jnp.moveaxis(values, axis, 0)
    before = jnp.concatenate([values[:1], values[:-1]])
    after = jnp.concatenate([values[1:], values[-1:]])
    values = jnp.stack(
      [0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis=1
    )
    values = values.reshape(-1, *values.shape[2:])[: size[axis]]
    values = jnp.moveaxis(values, 0, axis)
  return values
