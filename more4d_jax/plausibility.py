"""Checks whether numbers that users bring can be what they are said to be.

Each check is in the terms of its field: a principal point lies inside its
picture, a rotation is orthonormal, a scene is some metres deep. What cannot be
is refused; what can be understood in one way only is taken so, and a warning
says how.
"""

import logging
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from more4d_jax import errors

LOG = logging.getLogger(__name__)

Size = tuple[float | int, float | int]  # (H, W) in pixels.

FOCAL_WIDTHS = (0.2, 20.0)  # Focal lengths of real lenses, in picture widths.
MAX_DEPTH = 500.0  # Metres; no scene is trained on that reaches further.
MIN_DEPTH = 0.01
MAX_FRAME_RATE = 1000.0
MAX_SEED = 2**63 - 1
LOW_COVERAGE = 0.3
_MANY_INVALID = 0.5
_SAME_ASPECT = 1.02  # Ratio of aspects that rounding to pixels explains.
_RIGID_TOLERANCE = 1e-3


def numbers(value: Any, what: str) -> Float[np.ndarray, "..."]:
  """Anything that NumPy makes a finite array of, as float64.

  Args:
    value: nested lists or an array.
    what: it is, for messages, with the name of its file.

  Raises:
    UserError: for words, ragged lists, NaN, infinite or complex numbers.
  """
  try:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
      raise TypeError(f"values of type {array.dtype}")
    array = array.astype(np.float64)
  except (TypeError, ValueError, OverflowError, RecursionError) as error:
    raise errors.UserError(
      f"{what} must hold numbers in a regular shape ({error})"
    ) from error
  if not np.isfinite(array).all():
    raise errors.UserError(f"{what} holds NaN or infinite numbers")
  return array


def rigid_poses(value: Any, what: str) -> Float[np.ndarray, "T 4 4"]:
  """Poses: one or T of 4 x 4, 3 x 4, or their 16 or 12 numbers by rows.

  Raises:
    UserError: unless each is a rotation and a translation; the message says
      what else it looks like.
  """
  array = numbers(value, what)
  if array.ndim and array.shape[-1] in (12, 16) and array.ndim <= 2:
    array = array.reshape(*array.shape[:-1], -1, 4)
  if array.ndim == 2:
    array = array[None]
  if (
    array.ndim != 3 or array.shape[1:] not in ((4, 4), (3, 4)) or not len(array)
  ):
    raise errors.UserError(
      f"{what} must have the shape T x 4 x 4 or T x 3 x 4, found "
      f"{np.shape(value)}"
    )
  if array.shape[1] == 3:
    last = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (len(array), 1, 4))
    array = np.concatenate([array, last], axis=1)
  complaints = (_pose_complaint(pose) for pose in array)
  for frame, complaint in enumerate(complaints):
    if complaint:
      raise errors.UserError(
        f"{what} of frame {frame} is not a rotation and a translation with "
        f"the last row 0 0 0 1: {complaint}"
      )
  return array


def _pose_complaint(pose: Float[np.ndarray, "4 4"]) -> str:
  """What is wrong with a pose; empty if nothing."""
  rotation = pose[:3, :3]
  if not np.allclose(pose[3], (0, 0, 0, 1), atol=1e-6):
    if np.allclose(pose[:, 3], (0, 0, 0, 1), atol=1e-6):
      return "its translation stands in the last row; transpose it"
    return f"its last row is {_short(pose[3])}"
  gram = rotation @ rotation.T
  scale = math.sqrt(abs(np.trace(gram)) / 3)
  if not np.allclose(gram, np.eye(3), atol=_RIGID_TOLERANCE):
    if scale > 0 and np.allclose(gram / scale**2, np.eye(3), atol=1e-3):
      return f"its axes are scaled by {scale:.4g}; divide them by that"
    return "its axes are not orthonormal"
  if np.linalg.det(rotation) < 0:
    return (
      "it is mirrored (determinant -1), of left-handed axes; turn one axis "
      "round"
    )
  return ""


def pinhole(value: Any, what: str) -> Float[np.ndarray, "N 4"]:
  """(fx, fy, cx, cy) of one or N cameras, or their 3 x 3 matrices.

  Raises:
    UserError: for other shapes, skew, or focal lengths that are not positive.
  """
  array = numbers(value, what)
  if array.shape[-2:] == (3, 3):
    rest = array[..., [0, 1, 2, 2], [1, 0, 0, 1]]
    if np.any(rest) or np.any(array[..., 2, 2] != 1):
      raise errors.UserError(
        f"{what}: expected a 3 x 3 matrix without skew whose last row is "
        f"0 0 1, found {np.asarray(value).tolist()}"
      )
    array = array[..., [0, 1, 0, 1], [0, 1, 2, 2]]
  if array.ndim == 1:
    array = array[None]
  if array.ndim != 2 or array.shape[1] != 4 or not len(array):
    raise errors.UserError(
      f"{what}: expected (fx, fy, cx, cy) or a 3 x 3 matrix, found the shape "
      f"{np.shape(value)}"
    )
  if (array[:, :2] <= 0).any():
    raise errors.UserError(
      f"{what}: expected focal lengths positive in (fx, fy, cx, cy), found "
      f"{_short(array[int(np.argmin(array[:, :2].min(1)))])}"
    )
  return array


def picture_size(height: Any, width: Any, what: str) -> Size:
  """(H, W) that a file states.

  Raises:
    UserError: unless both are positive numbers.
  """
  given = [height, width]
  if None not in given:
    sides = numbers(given, f"{what}: height and width")
    if sides.shape == (2,) and (sides > 0).all():
      return float(sides[0]), float(sides[1])
  raise errors.UserError(
    f"{what}: expected the height and width of a picture in pixels, found "
    f"{height!r:.40} and {width!r:.40}"
  )


def intrinsics(
  values: Float[np.ndarray, "N 4"],
  size: Size,
  what: str,
  stated: Size | None = None,
) -> Float[np.ndarray, "N 4"]:
  """Intrinsics in pixels of a picture, from those of whichever picture.

  They may be pixels of that picture, shares of its width and height, or pixels
  of another picture: one whose size is stated, or the one whose centre the
  principal point is. A picture of another aspect is cut around its centre.

  Args:
    values: (fx, fy, cx, cy).
    size: (H, W) of the picture they are wanted for.
    what: they are, for messages, with the name of their file.
    stated: (H, W) of the picture they are said to belong to.

  Raises:
    UserError: if they can belong to no picture.
  """
  values = np.asarray(values, np.float64)
  height, width = size
  own = stated or size
  if stated is None and _are_shares(values):
    aspect = float(np.median(values[:, 1] / values[:, 0]))
    square = max(aspect * height / width, width / height / aspect)
    wide = width / height if square < 1.05 else aspect
    own, values = (1.0, wide), values * (wide, 1.0, wide, 1.0)
    LOG.warning(
      "%s: intrinsics are shares of a picture's width and height; read as "
      "those of one %.3g times as wide as high",
      what,
      wide,
    )
  elif stated is None and not _belong(values, size):
    own = tuple(float(c) for c in 2 * np.median(values[:, :1:-1], axis=0))
    if _fit(values, own):
      LOG.warning(
        "%s: intrinsics are those of a picture of %g x %g pixels, whose "
        "centre is the principal point; scaled to %d x %d",
        what,
        own[1],
        own[0],
        width,
        height,
      )
  if not _fit(values, own):
    raise _misfit(values, own if stated else size, what)
  return _moved(values, own, size)


def _misfit(
  values: Float[np.ndarray, "N 4"], size: Size, what: str
) -> errors.UserError:
  fx, fy, cx, cy = values[0]
  low, high = FOCAL_WIDTHS
  return errors.UserError(
    f"{what}: expected intrinsics (fx, fy, cx, cy) with the principal point "
    f"inside the picture of {size[1]:g} x {size[0]:g} pixels and focal lengths "
    f"of {low:g} to {high:g} picture widths, found {fx:g}, {fy:g}, {cx:g}, "
    f"{cy:g}: give pixels of that picture, shares of its size, or the width "
    "and height they belong to"
  )


def _are_shares(values: Float[np.ndarray, "N 4"]) -> bool:
  """Whether intrinsics are shares of a picture's width and height."""
  centre = values[:, 2:]
  focal_low, focal_high = values[:, :2].min(), values[:, :2].max()
  return bool(
    ((centre > 0) & (centre < 1)).all()
    and FOCAL_WIDTHS[0] / 2 <= focal_low <= focal_high <= 2 * FOCAL_WIDTHS[1]
  )


def _fit(values: Float[np.ndarray, "N 4"], size: Size) -> bool:
  """Whether intrinsics can be those of a picture in its own pixels."""
  height, width = size
  low, high = FOCAL_WIDTHS
  x, y = values[:, 2], values[:, 3]
  inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
  # The height may be a small part of the width, so focal lengths are widths.
  focal = values[:, :2]
  usual = (focal >= low * width) & (focal <= high * width)
  return bool(height > 0 and width > 0 and inside.all() and usual.all())


def _belong(values: Float[np.ndarray, "N 4"], size: Size) -> bool:
  """Whether intrinsics are those of a picture, and not of a scaled one.

  A principal point that lies on the diagonal through the centre, but far from
  the centre, is the centre of the same picture in another resolution.
  """
  if not _fit(values, size):
    return False
  y, x = np.median(values[:, :1:-1], axis=0) / size
  scaled = abs(x - 0.5) > 0.1 and abs(x / max(y, 1e-9) - 1) < 0.02
  return not (scaled and _fit(values, (2 * y * size[0], 2 * x * size[1])))


def _moved(
  values: Float[np.ndarray, "N 4"],
  size: Size,
  new: Size,
) -> Float[np.ndarray, "N 4"]:
  """Intrinsics of a picture that was cut to another aspect and resized."""
  scale = np.asarray([new[1] / size[1], new[0] / size[0]])
  if scale.max() > _SAME_ASPECT * scale.min():
    scale[:] = scale.max()
  focal = values[:, :2] * scale
  old_centre, centre = np.asarray(size[::-1]) / 2, np.asarray(new[::-1]) / 2
  return np.concatenate(
    [focal, (values[:, 2:] - old_centre) * scale + centre], axis=1
  )


def metric_depth(
  depth: Float[np.ndarray, "H W"], valid: Bool[np.ndarray, "H W"], what: str
) -> None:
  """Warns of depth that is hardly any; refuses what is no scene in metres.

  Raises:
    UserError: if the median is no distance of a scene.
  """
  known = depth[valid]
  median = float(np.median(known))
  if not MIN_DEPTH <= median <= MAX_DEPTH:
    raise errors.UserError(
      f"{what}: expected depth in metres with a median of {MIN_DEPTH:g} to "
      f"{MAX_DEPTH:g}, found {median:.4g}: if the values have another unit, "
      "name it with --depth-unit (mm, cm, or metres per value)"
    )
  invalid = 1 - known.size / depth.size
  if invalid > _MANY_INVALID:
    LOG.warning(
      "%s: %.0f %% of the pixels have no valid depth; they become the median "
      "of the others, %.3g m",
      what,
      100 * invalid,
      median,
    )
  if _looks_inverse(depth, valid):
    LOG.warning(
      "%s: the lower part of the picture is further away than the upper one, "
      "as in disparity or inverse depth; expected metres along the view",
      what,
    )


def _looks_inverse(
  depth: Float[np.ndarray, "H W"], valid: Bool[np.ndarray, "H W"]
) -> bool:
  """Whether depth falls from bottom to top, as disparity does outdoors."""
  third = len(depth) // 3
  top, bottom = depth[:third], depth[len(depth) - third :]
  top, bottom = top[valid[:third]], bottom[valid[len(depth) - third :]]
  if not (top.size and bottom.size):
    return False
  return bool(np.median(bottom) > 2 * np.median(top))


def frame_rate(fps: float | int, what: str) -> float:
  """Frames a second of a video.

  Raises:
    UserError: unless it is positive and at most 1000.
  """
  if not 0 < fps <= MAX_FRAME_RATE:
    raise errors.UserError(
      f"{what}: fps must be positive and at most {MAX_FRAME_RATE:g}, found "
      f"{fps:g}"
    )
  return float(fps)


def seed(value: int) -> int:
  """A seed of random numbers.

  Raises:
    UserError: unless it has at most 63 bits.
  """
  if not 0 <= value <= MAX_SEED:
    raise errors.UserError(
      f"expected a seed of 0 to {MAX_SEED}, found {value}: choose another one"
    )
  return value


def say_unread(names: Iterable[str], what: str) -> None:
  """Warns of fields of a file that nothing reads."""
  found = sorted(map(str, names))
  if found:
    LOG.warning("%s: these fields are not read: %s", what, ", ".join(found))


def _short(values: Float[np.ndarray, "N"]) -> str:
  return " ".join(f"{value:g}" for value in values)
