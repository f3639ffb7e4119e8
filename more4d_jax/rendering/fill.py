"""Holes of a rendering, filled with what lies behind.

A hole that opens behind a near surface continues the far side of it; one at
the border of the picture continues whatever it touches. Colours spread into
both from the rim of what is drawn, from coarse to fine; over them goes fine
detail, mirrored at the nearest pixel of that rim. Nothing is drawn at random:
where the rendering is steady over time, so is the fill.

Source: the pyramid is that of Gortler et al., The Lumigraph, SIGGRAPH 1996,
section 3.4; here its sources are chosen by depth and each level is smoothed.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

_NEARER = 0.1  # Relative; what is nearer by more belongs to the near side.
_BAND = 1 / 8  # Of the width; so far from a hole the near side is left out.
_LEAK = 0.002  # Weight of the near side, for holes without a far side.
_SOFT = 2  # Pixels over which a hole behind passes into one at the border.
_SWEEPS = 4  # Of smoothing on each level of the pyramid.
_CARRIED = 0.5  # Share of the rim's own colour at the border's holes,
_CARRY = 16.0  # which falls to a third over so many pixels.
# Detail is what one halving of the picture loses; a little more of it stands
# for what a base this smooth lacks besides.
_DETAIL = 1.2

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
  behind, opened = _behind(inverse, coverage)
  far = coverage & ~_near_side(inverse, behind, opened)
  share = _soft(opened, ~coverage)[..., None]
  every = _rim(coverage).astype(jnp.float32)
  some = jnp.maximum(_rim(far).astype(jnp.float32), _LEAK * every)
  spread = jax.vmap(_spread, (None, 0))(colour, jnp.stack([some, every]))
  base = share * spread[0] + (1 - share) * spread[1]
  place, other = _nearest(far), _nearest(coverage)
  use_far = opened & (place[0] >= 0)
  place = tuple(jnp.where(use_far, a, b) for a, b in zip(place, other))
  away = sum(
    jnp.abs(a - b) for a, b in zip(place, jnp.indices(share.shape[:2]))
  )
  carried = _CARRIED * jnp.exp(-away / _CARRY)[..., None] * (1 - share)
  edge = colour[place]
  found = _mirrored(_detail(colour, coverage), inverse, place)
  filled = (1 - carried) * base + carried * edge + _DETAIL * found
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


def _ends(
  inverse: Float[Array, "H W"], coverage: Bool[Array, "H W"]
) -> tuple[
  Float[Array, "H W"], Bool[Array, "H W"], Int[Array, "H W"], Int[Array, "H W"]
]:
  """The two covered pixels beside a hole in its row.

  Returns: inverse depth of the farther one, infinite if there is none;
    whether there are two, one nearer to the camera than the other; how far
    they are apart; and how far the border of the picture is where the hole
    reaches it, else more than any picture measures.
  """
  width = inverse.shape[1]
  row, column = jnp.arange(inverse.shape[0])[:, None], jnp.arange(width)
  left, any_left = _hits(coverage, reverse=False)
  right, any_right = _hits(coverage, reverse=True)
  at_left = jnp.where(any_left, inverse[row, left], jnp.inf)
  at_right = jnp.where(any_right, inverse[row, right], jnp.inf)
  alike = jnp.abs(at_left - at_right) <= _NEARER * at_left
  never = np.iinfo(np.int32).max
  border = jnp.minimum(
    jnp.where(any_left, never, column + 1),
    jnp.where(any_right, never, width - column),
  )
  jump = any_left & any_right & ~alike
  return jnp.minimum(at_left, at_right), jump, right - left, border


def _behind(
  inverse: Float[Array, "H W"], coverage: Bool[Array, "H W"]
) -> tuple[Float[Array, "H W"], Bool[Array, "H W"]]:
  """What lies behind each hole, and which holes opened behind something.

  A row or column with a near and a far end shows what lies behind; of two
  such the nearer far end, for a floor hides the sky. A hole that is closer to
  the border of the picture than its ends are to each other opened there.

  Returns: inverse depth, 0 where nothing is known, and those holes.
  """
  in_row, jump_x, gap_x, border_x = _ends(inverse, coverage)
  found = _ends(inverse.T, coverage.T)
  in_column, jump_y, gap_y, border_y = (v.T for v in found)
  jump_x &= gap_x <= border_y
  jump_y &= gap_y <= border_x
  behind = jnp.maximum(
    jnp.where(jump_x, in_row, 0), jnp.where(jump_y, in_column, 0)
  )
  return behind, (jump_x | jump_y) & ~coverage


def _near_side(
  inverse: Float[Array, "H W"],
  behind: Float[Array, "H W"],
  opened: Bool[Array, "H W"],
) -> Bool[Array, "H W"]:
  """Pixels of what hides a hole, close to it."""
  reach = max(2, round(_BAND * inverse.shape[1]))
  near = jnp.zeros(opened.shape, bool)
  for turned in (False, True):
    hole, depth = (opened.T, behind.T) if turned else (opened, behind)
    for reverse in (False, True):
      column, found = _hits(hole, reverse=reverse)
      there = jnp.take_along_axis(depth, column, axis=1)
      apart = jnp.abs(column - jnp.arange(hole.shape[1]))
      mine = inverse.T if turned else inverse
      nearer = found & (apart <= reach) & (mine > (1 + 2 * _NEARER) * there)
      near |= nearer.T if turned else nearer
  return near


def _soft(
  opened: Bool[Array, "H W"], hole: Bool[Array, "H W"]
) -> Float[Array, "H W"]:
  """Share of the holes around each pixel that opened behind something."""
  some, every = (
    _box(v.astype(jnp.float32), _SOFT, jax.lax.add, 0.0) for v in (opened, hole)
  )
  return some / jnp.maximum(every, 1.0)


def _rim(source: Bool[Array, "H W"]) -> Bool[Array, "H W"]:
  """Pixels of a source that touch another."""
  inner = _box(source.astype(jnp.float32), 1, jax.lax.min, jnp.inf)
  return source & (inner == 0)


def _spread(
  colour: Float[Array, "H W 3"], weight: Float[Array, "H W"]
) -> Float[Array, "H W 3"]:
  """Colours spread smoothly over all pixels."""
  levels = [(colour * weight[..., None], weight)]
  while max(levels[-1][1].shape) > 1:
    levels.append(tuple(_halve(v) for v in levels[-1]))
  filled = levels[-1][0] / jnp.maximum(levels[-1][1], 1e-6)[..., None]
  for level, (total, amount) in reversed(list(enumerate(levels[:-1]))):
    # A rim through a coarse pixel has as many pixels as that is wide.
    sure = jnp.minimum(amount / 2**level, 1.0)[..., None]
    own = sure * total / jnp.maximum(amount, 1e-6)[..., None]
    filled = own + (1 - sure) * _double(filled, own.shape[:2])
    # A loop, for compilers would merge and repeat the work of copies.
    filled = jax.lax.fori_loop(
      0, _SWEEPS, functools.partial(_smoothed, own, 1 - sure), filled
    )
  return filled


def _smoothed(
  own: Float[Array, "H W C"],
  open_share: Float[Array, "H W 1"],
  _: Any,
  values: Float[Array, "H W C"],
) -> Float[Array, "H W C"]:
  """What is not known becomes the mean of the four pixels beside it."""
  padded = jnp.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
  across = padded[1:-1, :-2] + padded[1:-1, 2:]
  mean = (across + padded[:-2, 1:-1] + padded[2:, 1:-1]) / 4
  return own + open_share * mean


def _detail(
  colour: Float[Array, "H W 3"], coverage: Bool[Array, "H W"]
) -> Float[Array, "H W 3"]:
  """What a halving of the picture loses; 0 in holes."""
  weight = coverage[..., None].astype(jnp.float32)
  total, amount = (
    _double(_halve(v), coverage.shape) for v in (colour * weight, weight)
  )
  return weight * (colour - total / jnp.maximum(amount, 1e-6))


def _mirrored(
  detail: Float[Array, "H W 3"], inverse: Float[Array, "H W"], place: Place
) -> Float[Array, "H W 3"]:
  """Detail on the other side of a place for each pixel.

  It comes from the same surface only, not from beyond its edge.

  Args:
    detail: 0 in holes.
    inverse: inverse depth, 0 in holes.
    place: at which each pixel is mirrored.
  """
  height, width = inverse.shape
  row, column = jnp.indices(inverse.shape)
  down, right = 2 * place[0] - row, 2 * place[1] - column
  usable = (down >= 0) & (down < height) & (right >= 0) & (right < width)
  there = jnp.clip(down, 0, height - 1), jnp.clip(right, 0, width - 1)
  at = inverse[place]
  usable &= jnp.abs(inverse[there] - at) <= 2 * _NEARER * at
  return jnp.where(usable[..., None], detail[there], 0)


def _nearest(source: Bool[Array, "H W"]) -> Place:
  """The nearest source in each pixel's row and column; -1 without any."""
  row, column = jnp.indices(source.shape)
  least = jnp.full(source.shape, sum(source.shape))
  place = jnp.full(source.shape, -1), jnp.full(source.shape, -1)
  for turned in (False, True):
    for reverse in (False, True):
      hit, found = _hits(source.T if turned else source, reverse=reverse)
      hit, found = (hit.T, found.T) if turned else (hit, found)
      apart = jnp.abs(hit - (row if turned else column))
      there = (hit, column) if turned else (row, hit)
      better = found & (apart < least)
      place = tuple(jnp.where(better, a, b) for a, b in zip(there, place))
      least = jnp.where(better, apart, least)
  return place


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
