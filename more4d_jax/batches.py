"""What the networks of a pipeline take: several scenes of the model's size."""

import dataclasses
from collections.abc import Sequence

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
    negative_prompts: what guidance leads away from, one each; none where all
      are empty.
  """

  images: UInt8[np.ndarray, "B H W 3"]
  depths: Float[np.ndarray, "B H W"]
  intrinsics: Float[np.ndarray, "B 4"]
  prompts: Sequence[str]
  negative_prompts: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class RenderingBatch:
  """Renderings with holes, each of its own scene or all of one.

  Attributes:
    videos: colours; those outside `coverage` do not matter.
    coverage: True where a point was drawn.
    images: the picture of each scene, or the one of all.
    prompts: one caption for each picture.
    negative_prompts: as in `PictureBatch`.
  """

  videos: UInt8[np.ndarray, "B T H W 3"]
  coverage: Bool[np.ndarray, "B T H W"]
  images: UInt8[np.ndarray, "S H W 3"]
  prompts: Sequence[str]
  negative_prompts: Sequence[str] = ()
