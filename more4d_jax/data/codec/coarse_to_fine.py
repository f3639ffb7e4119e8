"""Smooth maps to small whole numbers and back, with a bound on every value.

A map is coded from coarse to fine: each new pixel is predicted by the mean of
its two neighbours that are known already, first along rows, then along
columns, and what the prediction misses, its residual, is rounded to whole
steps. The prediction uses the values that the decoder will have (closed
loop), so errors do not add up: every value is kept within half a step. Where
a map is smooth most residuals are zero and take little space.

All arithmetic is on whole numbers, a value being a multiple of 1 / `FINE` of a
step, so that every machine decodes the same bits. Pixels whose value does not
matter get their prediction.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from more4d_jax.data.codec import byte_strings

FINE = 64
LIMIT = 2**29
"""Largest magnitude of a value, in 1 / FINE steps; sums of two must fit."""

_SHIFT = 6  # FINE = 2 ** _SHIFT.
_COARSEST = 32  # Pixels between those that are coded first.
_CHUNK = 1 << 16  # Values worked on at a time; they stay in a core's cache.


class _Level(NamedTuple):
  """Pixels predicted at once: where they and their neighbours lie."""

  targets: tuple[slice, slice]
  before: tuple[slice, slice]
  after: tuple[slice, slice]
  shape: tuple[int, int]
  inside: int  # Number of targets along the axis with a neighbour after them.
  axis: int


def check_tolerance(name: str, tolerance: float, least: float) -> None:
  """Makes sure that a bound can be kept.

  Args:
    name: of what is coded, for the message.
    tolerance: bound of the relative error.
    least: smallest one that the coding of this field can keep.

  Raises:
    ValueError: unless it lies between `least` and 1.
  """
  if not least <= tolerance < 1:
    raise ValueError(
      f"tolerance of {name} is {tolerance}; expected {least} to 1, or None to "
      "keep every bit"
    )


def quantise(
  maps: Float[np.ndarray, "C H W"], step: float
) -> Int32[np.ndarray, "C H W"]:
  """Values in units of step / FINE, clipped to what can be coded."""
  units = np.rint(np.asarray(maps, np.float64) * (FINE / step))
  return np.clip(units, -LIMIT, LIMIT).astype(np.int32)


def encode(
  units: Int32[np.ndarray, "C H W"],
  matters: Bool[np.ndarray, "H W"] | None = None,
) -> tuple[Int32[np.ndarray, "C N"], Int32[np.ndarray, "C H W"]]:
  """Encodes maps as residuals in whole steps.

  Args:
    units: of `quantise`.
    matters: pixels whose value must be kept; None keeps all.

  Returns: N = H * W residuals of each map, coarse to fine, and the units that
    `decode` will make of them.
  """
  count, height, width = units.shape
  misses = np.empty((count, height * width), np.int32)
  found = np.empty_like(units)
  for chunk in _chunks(count, height * width):
    wanted, known = units[chunk], found[chunk]
    coarse = wanted[:, ::_COARSEST, ::_COARSEST]
    whole = (coarse + FINE // 2) >> _SHIFT
    if matters is not None:
      whole = whole * matters[::_COARSEST, ::_COARSEST]
    known[:, ::_COARSEST, ::_COARSEST] = whole << _SHIFT
    end = whole[0].size
    misses[chunk, :end] = _differences(whole).reshape(len(whole), -1)
    for level in _levels(height, width):
      predicted = _predict(known, level)
      miss = (wanted[:, *level.targets] - predicted + FINE // 2) >> _SHIFT
      if matters is not None:
        miss *= matters[level.targets]
      known[:, *level.targets] = predicted + (miss << _SHIFT)
      start, end = end, end + miss[0].size
      misses[chunk, start:end] = miss.reshape(len(miss), -1)
  return misses, found


def decode(
  misses: byte_strings.WholeNumbers, height: int, width: int, step: float
) -> Float32[np.ndarray, "C H W"]:
  """Decodes maps from the residuals [C H * W] that `encode` returned.

  Args:
    misses: residuals, coarse to fine.
    height: of the maps.
    width: of the maps.
    step: that `quantise` was given.

  Raises:
    byte_strings.DamagedError: residuals of another size.
  """
  if misses.shape[1:] != (height * width,):
    raise byte_strings.DamagedError(
      f"maps of {misses.shape[1:]} values, expected {height * width}"
    )
  count = misses.shape[0]
  maps = np.empty((count, height, width), np.float32)
  for chunk in _chunks(count, height * width):
    coded = misses.rows(*chunk.indices(count)[:2])
    scaled(_sum_up(coded, height, width), step, maps[chunk])
  return maps


def scaled(
  units: Int32[np.ndarray, "C H W"],
  step: float,
  out: Float32[np.ndarray, "C H W"] | None = None,
) -> Float32[np.ndarray, "C H W"]:
  """Units as the values that `decode` makes of them."""
  factor = np.float32(step / FINE)
  return np.multiply(units, factor, out=out, dtype=np.float32, casting="unsafe")


def _sum_up(
  misses: Int32[np.ndarray, "C N"], height: int, width: int
) -> Int32[np.ndarray, "C H W"]:
  """Units of the maps."""
  known = np.empty((len(misses), height, width), np.int32)
  coarse = known[:, ::_COARSEST, ::_COARSEST]
  end = coarse[0].size
  whole = misses[:, :end].reshape(coarse.shape).cumsum(axis=1, dtype=np.int32)
  coarse[...] = whole.cumsum(axis=2, dtype=np.int32) << _SHIFT
  for level in _levels(height, width):
    start, end = end, end + level.shape[0] * level.shape[1]
    value = _predict(known, level)
    value += misses[:, start:end].reshape(value.shape) << _SHIFT
    known[:, *level.targets] = value
  return known


def _chunks(count: int, size: int) -> Iterator[slice]:
  number = max(1, _CHUNK // max(1, size))
  for start in range(0, count, number):
    yield slice(start, start + number)


def _differences(
  whole: Int32[np.ndarray, "C h w"],
) -> Int32[np.ndarray, "C h w"]:
  """Second differences; two cumulative sums give the values back."""
  rows = np.diff(whole, axis=1, prepend=np.int32(0))
  return np.diff(rows, axis=2, prepend=np.int32(0))


@functools.lru_cache(maxsize=16)
def _levels(height: int, width: int) -> tuple[_Level, ...]:
  """From coarse to fine, each first along rows, then along columns."""
  levels, spacing = [], _COARSEST
  while spacing > 1:
    half = spacing // 2
    rows, columns = slice(0, None, spacing), slice(half, None, spacing)
    levels.append(_level(height, width, rows, columns, axis=1))
    rows, columns = columns, slice(0, None, half)
    levels.append(_level(height, width, rows, columns, axis=0))
    spacing = half
  return tuple(levels)


def _level(
  height: int, width: int, rows: slice, columns: slice, *, axis: int
) -> _Level:
  targets = (rows, columns)
  moving, size = targets[axis], (height, width)[axis]
  numbers = range(*moving.indices(size))
  before = slice(0, size - moving.start, moving.step) if numbers else slice(0)
  after = slice(2 * moving.start, None, moving.step)
  shape = [
    len(range(*part.indices(n))) for part, n in zip(targets, (height, width))
  ]
  return _Level(
    targets=targets,
    before=(before, columns) if axis == 0 else (rows, before),
    after=(after, columns) if axis == 0 else (rows, after),
    shape=(shape[0], shape[1]),
    inside=len(range(*after.indices(size))),
    axis=axis,
  )


def _predict(
  known: Int32[np.ndarray, "C H W"], level: _Level
) -> Int32[np.ndarray, "C h w"]:
  """Mean of both neighbours; at the border, the only neighbour."""
  predicted = known[:, *level.before].copy()
  inside = slice(level.inside)
  part = predicted[:, inside] if level.axis == 0 else predicted[:, :, inside]
  part += known[:, *level.after]
  part >>= 1
  return predicted
