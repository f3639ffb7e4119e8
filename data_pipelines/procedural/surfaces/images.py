"""Tileable pictures of surfaces with their smaller copies, and sampling."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Float32

SIZE = 256
CHANNELS = 5
"""Red, green and blue of the albedo, slopes along columns and rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
  """A tileable surface.

  Attributes:
    texels: of all copies, from SIZE x SIZE down to 1 x 1, one after another:
      linear albedo and the slopes of the relief per texel of the first copy.
    holes: where a cut-out surface has nothing; None if it has no holes.
  """

  texels: Float32[np.ndarray, "M 5"]
  holes: np.ndarray | None = None

  @classmethod
  def of(
    cls,
    albedo: Float32[np.ndarray, "S S 3"],
    height: Float32[np.ndarray, "S S"],
    holes: np.ndarray | None = None,
  ) -> "Picture":
    """Returns a surface of an albedo, linear, and a relief in texels."""
    slopes = [
      0.5 * (np.roll(height, -1, axis) - np.roll(height, 1, axis))
      for axis in (1, 0)
    ]
    level = np.concatenate([albedo, np.stack(slopes, -1)], -1)
    levels = [level.astype(np.float32)]
    while len(levels[-1]) > 1:
      half = len(levels[-1]) // 2
      quarters = levels[-1].reshape(half, 2, half, 2, CHANNELS)
      levels.append(quarters.mean(axis=(1, 3)))
    return cls(np.concatenate([x.reshape(-1, CHANNELS) for x in levels]), holes)

  @functools.cached_property
  def mean(self) -> Float32[np.ndarray, "3"]:
    """Returns the mean albedo."""
    return self.texels[-1, :3]


_LEVELS = SIZE.bit_length()
_SIDES = (SIZE >> np.arange(_LEVELS)).astype(np.int32)
_STARTS = np.concatenate([[0], np.cumsum(_SIDES**2)[:-1]]).astype(np.int32)


def sample(
  picture: Picture,
  u: Float[np.ndarray, "N"],
  v: Float[np.ndarray, "N"],
  footprint: Float[np.ndarray, "N"],
) -> Float32[np.ndarray, "N 5"]:
  """Returns the channels at places of the surface.

  Args:
    picture: the surface.
    u, v: columns and rows in tiles.
    footprint: width of a pixel in tiles, which chooses the copy.
  """
  width = np.maximum(footprint * np.float32(0.8 * SIZE), np.float32(1))
  # The exponent of a float32 is the floor of its logarithm.
  exponent = (width.astype(np.float32).view(np.int32) >> 23) - 127
  level = np.minimum(exponent, _LEVELS - 1)
  side = _SIDES.take(level)
  # Whole tiles go first: float32 is too coarse far away.
  x = (u - np.floor(u)).astype(np.float32) * side - np.float32(0.5)
  y = (v - np.floor(v)).astype(np.float32) * side - np.float32(0.5)
  x0, y0 = np.floor(x), np.floor(y)
  fx, fy = (x - x0)[:, None], (y - y0)[:, None]
  mask = side - 1
  left, top = x0.astype(np.int32) & mask, y0.astype(np.int32) & mask
  right, below = (left + 1) & mask, (top + 1) & mask
  start = _STARTS.take(level)
  top, below = start + top * side, start + below * side
  texels = picture.texels
  upper = texels.take(top + left, axis=0)
  upper += fx * (texels.take(top + right, axis=0) - upper)
  lower = texels.take(below + left, axis=0)
  lower += fx * (texels.take(below + right, axis=0) - lower)
  upper += fy * (lower - upper)
  return upper


def hole(
  picture: Picture, u: Float[np.ndarray, "N"], v: Float[np.ndarray, "N"]
) -> np.ndarray:
  """Whether places of a cut-out surface are holes, [N] bool."""
  rows, columns = picture.holes.shape
  row = np.floor(v * rows).astype(np.int32) % rows
  column = np.floor(u * columns).astype(np.int32) % columns
  return picture.holes[row, column]
