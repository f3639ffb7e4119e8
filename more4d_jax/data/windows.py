"""Windows of records: a small square of pixels with all its frames."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from more4d_jax import errors
from more4d_jax.data import transforms


@dataclasses.dataclass(frozen=True)
class MotionWindow:
  """A `motion_example` cut to a square window, mostly where something moves.

  A convolutional network learns moving pixels from windows several times
  faster than from whole pictures, most of whose pixels do not move.

  Attributes:
    side: of the window, pixels.
    anywhere: share of the windows that lie anywhere; each of the others holds
      a pixel that moves, if there is one.
  """

  side: int
  anywhere: float = 0.1

  def __call__(
    self,
    item: transforms.Item,
    options: transforms.ExampleOptions | None,
    rng: np.random.Generator,
  ) -> dict[str, np.ndarray]:
    """`tracks` [T side side 3], `intrinsics` [4] of the window's pixels.

    Raises:
      UserError: the window is larger than the picture.
    """
    whole = transforms.motion_example(item, options, rng)
    tracks = whole["tracks"]
    _check_side(self.side, tracks.shape[1:3])
    top, left = self._corner(tracks, rng)
    shift = np.array([0, 0, left, top], np.float32)
    return {
      "tracks": _cut(tracks, (top, left), self.side),
      "intrinsics": whole["intrinsics"] - shift,
    }

  def _corner(
    self, tracks: Float32[np.ndarray, "T H W 3"], rng: np.random.Generator
  ) -> tuple[int, int]:
    """First row and column, drawn."""
    limits = np.array(tracks.shape[1:3]) - self.side
    anywhere = rng.random() < self.anywhere
    moving = np.argwhere(transforms.moving_pixels(tracks))
    if anywhere or not len(moving):
      row, column = rng.integers(limits + 1)
      return int(row), int(column)
    inside = moving[rng.integers(len(moving))]
    corner = inside - rng.integers(self.side, size=2)
    row, column = np.clip(corner, 0, limits)
    return int(row), int(column)


@dataclasses.dataclass(frozen=True)
class VideoWindow:
  """A `video_example` cut to a square window anywhere.

  Attributes:
    side: of the window, pixels.
  """

  side: int

  def __call__(
    self,
    item: transforms.Item,
    options: transforms.ExampleOptions | None,
    rng: np.random.Generator,
  ) -> dict[str, np.ndarray]:
    """`video` [T side side 3] uint8 and `depth` [T side side] float32.

    Raises:
      UserError: the window is larger than the picture.
    """
    whole = transforms.video_example(item, options, rng)
    size = whole["depth"].shape[1:3]
    _check_side(self.side, size)
    top, left = rng.integers(np.array(size) - self.side + 1).tolist()
    return {
      name: _cut(value, (top, left), self.side) for name, value in whole.items()
    }


def _check_side(side: int, size: tuple[int, int]) -> None:
  if side > min(size):
    raise errors.UserError(
      f"a window of {side} pixels does not fit pictures of {size[0]} x "
      f"{size[1]}: choose a smaller one, or 0 for whole pictures"
    )


def _cut(frames: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
  """A square of all frames [T H W ...], from its first row and column on."""
  rows, columns = (slice(first, first + side) for first in corner)
  return np.ascontiguousarray(frames[:, rows, columns])
