"""Depth of a picture from a file, an array or any Python callable.

All give a `DepthMap`; so does a checkpoint's depth network, through
`pipeline.Pipeline.depth_map`. NumPy and Pillow only. Every mistake is a
`UserError` of one line.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, UInt8

from more4d_jax import errors

PathLike = str | os.PathLike[str]

_KEYS = ("depth", "intrinsics", "valid")


@dataclasses.dataclass(frozen=True)
class DepthMap:
  """Depth of a whole picture, at any resolution of the picture's aspect.

  Attributes:
    depth: metres along z, positive and finite where `valid`.
    valid: True where the depth is known; at least at one place.
    intrinsics: (fx, fy, cx, cy) in pixels of this map, if the source knows
      the camera.
  """

  depth: Float[np.ndarray, "H W"]
  valid: Bool[np.ndarray, "H W"]
  intrinsics: Float[np.ndarray, "4"] | None = None

  @property
  def invalid_count(self) -> int:
    """Pixels without a depth."""
    return int((~self.valid).sum())

  def filled(self) -> Float[np.ndarray, "H W"]:
    """Depth with the median of the valid values where it is not known."""
    median = np.median(self.depth[self.valid])
    return np.where(self.valid, self.depth, median).astype(np.float32)


# Takes the colours of a picture; returns a map, an array of metres, or a
# mapping with `depth` and perhaps `intrinsics` and `valid`.
DepthFunction = Callable[
  [UInt8[np.ndarray, "H W 3"]], DepthMap | np.ndarray | Mapping[str, Any]
]
DepthLike = PathLike | np.ndarray | DepthMap | DepthFunction


def find(depth: DepthLike, pixels: UInt8[np.ndarray, "H W 3"]) -> DepthMap:
  """Depth of a picture from whatever describes it.

  Args:
    depth: a file, an array of metres, a map, or a function of the picture.
    pixels: the whole picture, which a function is called with.

  Raises:
    UserError: if it is no depth of one picture.
  """
  if isinstance(depth, DepthMap):
    return depth
  if isinstance(depth, str | os.PathLike):
    return from_file(depth)
  if callable(depth):
    return from_callable(depth, pixels)
  return from_array(depth)


def from_array(
  depth: Any,
  *,
  valid: Any = None,
  intrinsics: Any = None,
  name: str = "depth",
) -> DepthMap:
  """Takes depth as anything that NumPy makes an array of.

  Args:
    depth: metres, [H, W] but for axes of length 1; NaN, infinite and
      non-positive values are invalid.
    valid: of the same shape; zero or False means unknown.
    intrinsics: (fx, fy, cx, cy) or a 3 x 3 matrix, in pixels of the map.
    name: of the source, for messages.

  Raises:
    UserError: if it is not one map of numbers, or no value is valid, or mask
      or camera do not fit.
  """
  values = np.asarray(depth)
  squeezed = np.squeeze(values)
  number = np.issubdtype(values.dtype, np.number)
  if squeezed.ndim != 2 or not number or np.iscomplexobj(values):
    raise errors.UserError(
      f"expected one depth map [H, W] of numbers in {name}, found shape "
      f"{list(values.shape)} of {values.dtype}: give a single map in metres"
    )
  metres = squeezed.astype(np.float32)
  known = np.isfinite(metres) & (metres > 0)
  if valid is not None:
    known &= _mask(valid, metres.shape, name)
  if not known.any():
    raise errors.UserError(
      f"expected positive, finite depths in {name}, found none that is valid: "
      "give depth in metres, or leave it out"
    )
  camera = None if intrinsics is None else _camera(intrinsics, name)
  return DepthMap(metres, known, camera)


def _mask(
  valid: Any, shape: tuple[int, int], name: str
) -> Bool[np.ndarray, "H W"]:
  values = np.asarray(valid)
  mask = np.squeeze(values)
  kind = values.dtype == bool or np.issubdtype(values.dtype, np.integer)
  if mask.shape != shape or not kind:
    raise errors.UserError(
      f"expected a validity mask of {list(shape)} booleans beside the depth in "
      f"{name}, found shape {list(values.shape)} of {values.dtype}"
    )
  return mask.astype(bool)


def _camera(intrinsics: Any, name: str) -> Float[np.ndarray, "4"]:
  values = np.asarray(intrinsics)
  if values.shape == (3, 3):
    skewed = np.any(values[[0, 1, 2, 2], [1, 0, 0, 1]]) or values[2, 2] != 1
    values = values[[0, 1, 0, 1], [0, 1, 2, 2]]
  else:
    skewed = False
  usable = values.shape == (4,) and np.issubdtype(values.dtype, np.number)
  if (
    not usable
    or skewed
    or not np.isfinite(values).all()
    or min(values[:2]) <= 0
  ):
    raise errors.UserError(
      "expected intrinsics (fx, fy, cx, cy) in pixels, or their 3 x 3 matrix "
      f"without skew, beside the depth in {name}, found "
      f"{np.asarray(intrinsics).tolist()}"
    )
  return values.astype(np.float32)


def from_callable(
  function: DepthFunction, pixels: UInt8[np.ndarray, "H W 3"]
) -> DepthMap:
  """Asks a function for the depth of a picture.

  What the function raises is passed on.

  Raises:
    UserError: if it returns anything but a depth of the picture.
  """
  name = f"what {getattr(function, '__name__', 'the depth function')} returned"
  found = function(pixels)
  if isinstance(found, DepthMap):
    return found
  if isinstance(found, Mapping):
    return _from_mapping(found, name)
  return from_array(found, name=name)


def _check_names(names: Iterable[str], name: str) -> None:
  names = list(names)
  if "depth" not in names:
    raise errors.UserError(
      f"expected an array named 'depth' in {name}, found "
      f"{', '.join(map(str, names)) or 'none'}: name it depth"
    )


def _from_mapping(found: Mapping[str, Any], name: str) -> DepthMap:
  _check_names(found, name)
  given = {key: found[key] for key in _KEYS if found.get(key) is not None}
  return from_array(name=name, **given)


def from_file(path: PathLike) -> DepthMap:
  """Reads a depth map in metres: .npy, .npz, or a 16-bit PNG in millimetres.

  An .npz file holds one array, or one named `depth` and perhaps `intrinsics`
  and `valid`. Zero means invalid.

  Raises:
    UserError: if the file is missing, unreadable or no depth of one picture.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise errors.UserError(
      f"expected a depth map at {path}, found no such file: check --depth"
    )
  try:
    found = _read(path)
  except (OSError, SyntaxError, ValueError, EOFError, zipfile.BadZipFile) as e:
    if isinstance(e, errors.UserError):
      raise
    raise errors.UserError(
      f"expected a depth map in {path}, found a file that cannot be read: "
      "give .npy or .npz in metres, or a 16-bit .png in millimetres"
    ) from e
  return _from_mapping(found, str(path))


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  if path.suffix == ".npy":
    return {"depth": np.load(path, allow_pickle=False)}
  if path.suffix == ".npz":
    with np.load(path, allow_pickle=False) as archive:
      names = archive.files
      if "depth" not in names and len(names) == 1:
        return {"depth": archive[names[0]]}
      _check_names(names, str(path))
      return {n: archive[n] for n in _KEYS if n in names}
  with PIL.Image.open(path) as image:
    if not image.mode.startswith("I"):
      raise errors.UserError(
        f"expected a 16-bit grey depth picture in {path}, found mode "
        f"{image.mode}: store millimetres as 16-bit PNG, or metres as .npy"
      )
    return {"depth": np.asarray(image).astype(np.float32) / 1000.0}
