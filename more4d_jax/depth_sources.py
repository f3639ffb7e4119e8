"""Depth of a picture from a file, an array or any Python callable.

All give a `DepthMap`; so does a checkpoint's depth network, through
`pipeline.Pipeline.depth_map`. NumPy and Pillow only; .exr files need OpenEXR.
Every mistake is a `UserError` of one line.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, UInt8

from more4d_jax import array_files, errors, plausibility

PathLike = str | os.PathLike[str]

SUFFIXES = (".npy", ".npz", ".png", ".tif", ".tiff", ".exr")
_KEYS = ("depth", "intrinsics", "valid", "unit")
_UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_LONG_NAMES = {"metre": "m", "meter": "m", "centi": "c", "milli": "m"}
# What other arrays of depth estimators hold, by a word in their names.
_OTHERS = {
  "disp": "disparity, which falls with distance",
  "inv": "inverse depth, which falls with distance",
  "flow": "optical flow",
  "normal": "surface normals",
  "conf": "confidence",
  "dist": "distance along rays, not depth along the view",
  "log": "logarithms of depth",
}


@dataclasses.dataclass(frozen=True)
class DepthMap:
  """Depth of a whole picture, at any resolution of the picture's aspect.

  Attributes:
    depth: metres along z, positive and finite where `valid`.
    valid: True where the depth is known; at least at one place.
    intrinsics: (fx, fy, cx, cy) in pixels of this map, if the source knows
      the camera.
    estimated: whether a checkpoint's network made it.
  """

  depth: Float[np.ndarray, "H W"]
  valid: Bool[np.ndarray, "H W"]
  intrinsics: Float[np.ndarray, "4"] | None = None
  estimated: bool = False

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


def find(
  depth: DepthLike,
  pixels: UInt8[np.ndarray, "H W 3"],
  unit: str | None = None,
) -> DepthMap:
  """Depth of a picture from whatever describes it.

  Args:
    depth: a file, an array of metres, a map, or a function of the picture.
    pixels: the whole picture, which a function is called with.
    unit: of a file's or array's values; see `from_array`.

  Raises:
    UserError: if it is no depth of one picture.
  """
  if isinstance(depth, DepthMap):
    return depth
  if isinstance(depth, str | os.PathLike):
    return from_file(depth, unit)
  if callable(depth):
    return from_callable(depth, pixels)
  return from_array(depth, unit=unit)


def metres_per_value(unit: str | float) -> float:
  """Metres that a value of 1 means.

  Args:
    unit: m, cm, mm, their names in full, or the number itself.

  Raises:
    UserError: if it is none of these.
  """
  word = str(unit).strip().lower()
  for long, short in _LONG_NAMES.items():
    word = word.replace(f"{long}s", short).replace(long, short)
  try:
    scale = _UNITS[word] if word in _UNITS else float(word)
  except ValueError:
    scale = 0.0
  if not 0 < scale < np.inf:
    raise errors.UserError(
      f"expected a unit of depth of {', '.join(_UNITS)}, or metres per value, "
      f"found {str(unit)!r}: for example mm, or 0.001"
    )
  return scale


def from_array(
  depth: Any,
  *,
  valid: Any = None,
  intrinsics: Any = None,
  unit: str | float | None = None,
  name: str = "depth",
) -> DepthMap:
  """Takes depth as anything that NumPy makes an array of.

  Args:
    depth: metres, [H, W] but for axes of length 1; NaN, infinite and
      non-positive values are invalid.
    valid: of the same shape; zero or False means unknown.
    intrinsics: (fx, fy, cx, cy) or a 3 x 3 matrix, in pixels of the map or in
      shares of its width and height.
    unit: of the values, see `metres_per_value`; floating-point values are
      metres when left out, whole numbers need it.
    name: of the source, for messages.

  Raises:
    UserError: if it is not one map of numbers, whole numbers have no unit, the
      depth is none of a scene, or mask or camera do not fit.
  """
  values = np.asarray(depth)
  squeezed = np.squeeze(values)
  number = np.issubdtype(values.dtype, np.number)
  if squeezed.ndim != 2 or not number or np.iscomplexobj(values):
    raise errors.UserError(
      f"expected one depth map [H, W] of numbers in {name}, found shape "
      f"{list(values.shape)} of {values.dtype}: give a single map in metres"
    )
  if unit is None and np.issubdtype(values.dtype, np.integer):
    raise errors.UserError(
      f"expected depth in metres in {name}, found whole numbers "
      f"({values.dtype}) without a unit: name it with --depth-unit (mm, cm, m, "
      "or metres per value), or store metres as floating-point numbers"
    )
  with np.errstate(over="ignore"):
    metres = squeezed.astype(np.float32)
    if unit is not None:
      metres = metres * np.float32(metres_per_value(unit))
  known = np.isfinite(metres) & (metres > 0)
  if valid is not None:
    known &= _mask(valid, metres.shape, name)
  if not known.any():
    raise errors.UserError(
      f"expected positive, finite depths in {name}, found none that is valid: "
      "give depth in metres, or leave it out"
    )
  plausibility.metric_depth(metres, known, name)
  if intrinsics is None:
    return DepthMap(metres, known)
  return DepthMap(metres, known, _camera(intrinsics, metres.shape, name))


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


def _camera(
  given: Any, size: tuple[int, int], name: str
) -> Float[np.ndarray, "4"]:
  what = f"intrinsics beside the depth in {name}"
  values = plausibility.pinhole(given, what)
  if len(values) != 1:
    raise errors.UserError(
      f"{what}: expected one camera (fx, fy, cx, cy), found {len(values)}"
    )
  return plausibility.intrinsics(values, size, what)[0].astype(np.float32)


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


def check_names(names: Iterable[str], name: str) -> None:
  """Refuses a source that names its depth something else.

  Args:
    names: of its arrays or channels.
    name: of the source, for messages.

  Raises:
    UserError: unless one is called depth; it says what the others hold.
  """
  names = list(map(str, names))
  if "depth" in names:
    return
  holds = [
    f"{found} ({meaning})"
    for found in names
    for word, meaning in _OTHERS.items()
    if word in found.lower()
  ]
  raise errors.UserError(
    f"expected an array named 'depth' (metres along the view) in {name}, found "
    f"{', '.join(holds or names) or 'none'}: "
    + ("convert it to metres and " if holds else "")
    + "name it depth"
  )


def _from_mapping(
  found: Mapping[str, Any], name: str, unit: str | None = None
) -> DepthMap:
  check_names(found, name)
  plausibility.say_unread(set(found) - set(_KEYS), name)
  given = {key: found[key] for key in _KEYS if found.get(key) is not None}
  if unit is not None or "unit" in given:
    given["unit"] = unit or str(given["unit"])
  return from_array(name=name, **given)


def from_file(path: PathLike, unit: str | None = None) -> DepthMap:
  """Reads a depth map from a file.

  .npy, .npz, .exr and floating-point .tif hold metres, 16-bit .png
  millimetres. An .npz file holds one array, or one named `depth` and perhaps
  `intrinsics`, `valid` and `unit`. Zero means invalid.

  Args:
    path: of the file.
    unit: of its values if it is another one; see `metres_per_value`. Whole
      numbers in .npy, .npz and .tif need it.

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
  except errors.UserError:
    raise
  except array_files.DAMAGE as error:
    raise errors.UserError(
      f"expected a depth map in {path}, found a file that cannot be read: "
      "give .npy, .npz, .exr or .tif in metres, or a 16-bit .png in millimetres"
    ) from error
  return _from_mapping(found, str(path), unit)


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Arrays of a file by name, its unit where the kind of file says it."""
  suffix = path.suffix.lower()
  if suffix == ".npy":
    return {"depth": array_files.read_npy(path)}
  if suffix == ".exr":
    return {"depth": _read_exr(path)}
  if suffix == ".npz":
    found = array_files.read_npz(path)
    return {"depth": found["arr_0"]} if set(found) == {"arr_0"} else found
  with PIL.Image.open(path) as image:
    values = np.asarray(image)
    if image.mode.startswith("I") and suffix == ".png":
      return {"depth": values, "unit": "mm"}
    if image.mode.startswith(("I", "F")):
      return {"depth": values}
    raise errors.UserError(
      f"expected a 16-bit grey depth picture in {path}, found mode "
      f"{image.mode}: store millimetres as 16-bit PNG, or metres as .npy"
    )


def _read_exr(path: pathlib.Path) -> Float[np.ndarray, "H W"]:
  """The channel of depth: the only one, or the one that is called so."""
  try:
    import OpenEXR
  except ModuleNotFoundError as error:
    raise errors.UserError(
      f"reading {path} needs the library OpenEXR: pip install "
      "'more4d_jax[exr]', or store metres as .npy"
    ) from error
  with OpenEXR.File(str(path), separate_channels=True) as opened:
    channels = {
      name: channel.pixels for name, channel in opened.channels().items()
    }
  depths = [
    name for name in channels if name.split(".")[-1].lower() in ("z", "depth")
  ]
  if len(channels) == 1:
    (only,) = channels
    depths = [only] if only in ("Y", "R", "V") else depths
  if len(depths) != 1:
    check_names(sorted(set(channels) - {"depth"}), str(path))
  return np.asarray(channels[depths[0]])
