"""What the networks of a pipeline take: several scenes of the model's size."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8


@dataclasses.dataclass(frozen=True)
class PictureBatch:
  """Pictures of the model's size, with what moves in them.

  Attributes:
    images: colours.
    depths: metres, finite and positive.
    intrinsics: (fx, fy, cx, cy) in pixels.
    prompts: one caption each.
    noise_keys: seed and number of each one's noise, which they alone fix, so
      that a picture's sample does not depend on its batch.
    negative_prompts: what guidance leads away from, one each; none where all
      are empty.
    known: False where depth was not known and is filled; None where all is.
  """

  images: UInt8[np.ndarray, "B H W 3"]
  depths: Float[np.ndarray, "B H W"]
  intrinsics: Float[np.ndarray, "B 4"]
  prompts: Sequence[str]
  noise_keys: Sequence[tuple[int, int]]
  negative_prompts: Sequence[str] = ()
  known: Bool[np.ndarray, "B H W"] | None = None


@dataclasses.dataclass(frozen=True)
class RenderingBatch:
  """Renderings with holes.

  Attributes:
    videos: colours; those outside `coverage` do not matter.
    coverage: True where a point was drawn.
    images: the picture of each scene.
    prompts: one caption each.
    noise_keys: as in `PictureBatch`.
    negative_prompts: as in `PictureBatch`.
  """

  videos: UInt8[np.ndarray, "B T H W 3"]
  coverage: Bool[np.ndarray, "B T H W"]
  images: UInt8[np.ndarray, "B H W 3"]
  prompts: Sequence[str]
  noise_keys: Sequence[tuple[int, int]]
  negative_prompts: Sequence[str] = ()


def even(count: int, most: int) -> int:
  """The size of the fewest batches, which is as small as it may be.

  Args:
    count: of samples.
    most: of a batch.
  """
  return -(-count // -(-count // most)) if count else 1


def chunks(count: int, size: int) -> Iterator[tuple[list[int], int]]:
  """Numbers of samples in batches of one size, and how many of them count.

  The last number is repeated until its batch is full, so that one program
  serves all batches.

  Args:
    count: of samples.
    size: of a batch.
  """
  for first in range(0, count, size):
    last = min(first + size, count)
    chosen = [*range(first, last), *[last - 1] * (first + size - last)]
    yield chosen, last - first
