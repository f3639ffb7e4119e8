"""COLMAP's camera models: which are pinholes, and where their numbers stand."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from more4d_jax import errors, plausibility


@dataclasses.dataclass(frozen=True)
class Model:
  """A camera model.

  Attributes:
    name: in cameras.txt.
    number: in cameras.bin.
    parameters: how many numbers it has.
    one_focal: whether the first is both focal lengths, and not fx alone.
    pinhole: whether it is one but for distortion, the last numbers.
  """

  name: str
  number: int
  parameters: int
  one_focal: bool
  pinhole: bool = True


MODELS = (
  Model("SIMPLE_PINHOLE", 0, 3, True),
  Model("PINHOLE", 1, 4, False),
  Model("SIMPLE_RADIAL", 2, 4, True),
  Model("RADIAL", 3, 5, True),
  Model("OPENCV", 4, 8, False),
  Model("OPENCV_FISHEYE", 5, 8, False, pinhole=False),
  Model("FULL_OPENCV", 6, 12, False),
  Model("FOV", 7, 5, False, pinhole=False),
  Model("SIMPLE_RADIAL_FISHEYE", 8, 4, True, pinhole=False),
  Model("RADIAL_FISHEYE", 9, 5, True, pinhole=False),
  Model("THIN_PRISM_FISHEYE", 10, 12, False, pinhole=False),
)
BY_NAME = {model.name: model for model in MODELS}
BY_NUMBER = {model.number: model for model in MODELS}


@dataclasses.dataclass(frozen=True)
class Lens:
  """A camera of a reconstruction.

  Attributes:
    intrinsics: fx, fy, cx, cy in pixels.
    size: (H, W) of its pictures.
  """

  intrinsics: tuple[float, float, float, float]
  size: plausibility.Size


def lens(
  model: Model, size: plausibility.Size, values: Sequence[float], name: str
) -> Lens:
  """The pinhole of a camera.

  Args:
    model: its model.
    size: (H, W).
    values: its numbers.
    name: of the file, for messages.

  Raises:
    UserError: for other lenses, or numbers that are none of a lens.
  """
  if not model.pinhole:
    raise errors.UserError(
      f"{name}: expected a pinhole camera, found the model {model.name}: "
      "undistort the pictures first (colmap image_undistorter)"
    )
  numbers = plausibility.numbers(values, f"{name}: a camera")
  if len(numbers) != model.parameters:
    raise errors.UserError(
      f"{name}: expected {model.parameters} numbers of a {model.name} camera, "
      f"found {len(numbers)}"
    )
  first = [0, 0, 1, 2] if model.one_focal else [0, 1, 2, 3]
  if np.any(numbers[first[-1] + 1 :]):
    plausibility.LOG.warning("%s: the lens's distortion is left out", name)
  found = plausibility.pinhole(numbers[first], f"{name}: a camera")[0]
  height, width = plausibility.picture_size(*size, name)
  return Lens(tuple(found.tolist()), (height, width))


def together(
  lenses: Sequence[Lens], name: str
) -> tuple[Float[np.ndarray, "T 4"], plausibility.Size]:
  """Intrinsics of frames, and the one size that their pictures have.

  Raises:
    UserError: for pictures of several sizes.
  """
  sizes = {found.size for found in lenses}
  if len(sizes) > 1:
    raise errors.UserError(
      f"{name}: expected cameras of one size of picture, found {len(sizes)}"
    )
  return np.asarray([found.intrinsics for found in lenses]), sizes.pop()
