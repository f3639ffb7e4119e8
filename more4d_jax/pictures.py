"""A picture that a user brings: from a file, an array or a Pillow image.

NumPy and Pillow; PyAV for colours of more than 8 bits. Every mistake is a
`UserError` of one line.
"""

import contextlib
import dataclasses
import io
import logging
import math
import os
import pathlib
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Integer, Num, Shaped, UInt8

from more4d_jax import errors, plausibility

MIN_SIDE = 16
_LOG = logging.getLogger(__name__)
# Numbers of EXIF fields.
_ORIENTATION, _DETAILS = 0x0112, 0x8769
_FOCAL_35MM, _FOCAL_MM, _EXIF_WIDTH, _EXIF_HEIGHT = (
  0xA405,
  0x920A,
  0xA002,
  0xA003,
)
_PLANE_RESOLUTION, _PLANE_UNIT = 0xA20E, 0xA210
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0}
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_TURNS = {
  2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
  3: PIL.Image.Transpose.ROTATE_180,
  4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
  5: PIL.Image.Transpose.TRANSPOSE,
  6: PIL.Image.Transpose.ROTATE_270,
  7: PIL.Image.Transpose.TRANSVERSE,
  8: PIL.Image.Transpose.ROTATE_90,
}
_BITS = (8, 10, 12, 14, 16, 24, 32)  # That cameras and programs write.
# What a damaged picture or its EXIF data makes Pillow and PyAV raise.
_DAMAGE = (
  OSError,
  SyntaxError,
  ValueError,
  TypeError,
  LookupError,
  EOFError,
  ArithmeticError,
  AttributeError,
  AssertionError,
  NotImplementedError,
  MemoryError,
  RecursionError,
  struct.error,
  zlib.error,
)

PathLike = str | os.PathLike[str]
PictureLike = PathLike | np.ndarray | PIL.Image.Image


@dataclasses.dataclass(frozen=True)
class Picture:
  """A decoded picture.

  Attributes:
    pixels: colours.
    focal: focal length in its pixels if the file tells it.
    name: for messages.
  """

  pixels: UInt8[np.ndarray, "H W 3"]
  focal: float | None = None
  name: str = "image"


def find(picture: PictureLike) -> Picture:
  """A picture from a file, an array or a Pillow image.

  Raises:
    UserError: as the function of each kind.
  """
  if isinstance(picture, PIL.Image.Image):
    return from_pillow(picture)
  if isinstance(picture, np.ndarray):
    return from_array(picture)
  return from_file(picture)


def from_file(path: PathLike, max_pixels: int | None = None) -> Picture:
  """Reads a picture file, turned upright by its EXIF orientation.

  Grey pictures repeat their channel; more than 8 bits a channel are stretched
  by the bits that are used; floating-point values lie in [0, 1]; transparent
  pixels are blended over white.

  Args:
    path: the file.
    max_pixels: the largest picture that is decoded.

  Raises:
    UserError: if the file is missing, no picture, too small or too large.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise errors.UserError(
      f"expected a picture at {path}, found no such file: check --image"
    )
  try:
    with _warnings_said(str(path)), PIL.Image.open(path) as opened:
      _check_pixels(opened, path, max_pixels)
      deep = ";16" in str([tile[3] for tile in getattr(opened, "tile", [])])
      deep = deep and opened.mode in ("RGB", "RGBA")
      picture = from_pillow(opened, str(path))
      return _deeper(picture, path) if deep else picture
  except errors.UserError:
    raise
  except PIL.Image.DecompressionBombError as error:
    raise errors.UserError(
      f"{path} is too large to open safely ({error}): scale it down first"
    ) from error
  except _DAMAGE as error:
    raise errors.UserError(
      f"expected a picture in {path}, found a file that Pillow cannot read: "
      "give a JPEG, PNG or WebP file"
    ) from error


def _check_pixels(
  opened: PIL.Image.Image, path: pathlib.Path, most: int | None
) -> None:
  width, height = opened.size
  if most is not None and width * height > most:
    raise errors.UserError(
      f"expected a picture of at most {most / 1e6:g} megapixels, found "
      f"{width * height / 1e6:.1f} ({width} x {height}) in {path.name}: scale "
      "it down first"
    )


@contextlib.contextmanager
def _warnings_said(name: str) -> Iterator[None]:
  """Turns Pillow's warnings, of damaged EXIF data for one, into log lines."""
  with warnings.catch_warnings(record=True) as found:
    yield
  for text in dict.fromkeys(str(warning.message) for warning in found):
    _LOG.warning("%s: %s", name, text)


def from_pillow(image: PIL.Image.Image, name: str = "image") -> Picture:
  """Takes an opened image as `from_file` takes its file.

  Raises:
    UserError: if its values have no known range, or it is too small.
  """
  exif = _exif(image, name)
  turn = _TURNS.get(exif.get(_ORIENTATION, 1))
  image = image.transpose(turn) if turn is not None else image
  pixels = _to_rgb(image, name)
  return _checked(Picture(pixels, _focal_pixels(exif, pixels, name), name))


def from_array(pixels: Shaped[np.ndarray, "..."]) -> Picture:
  """Takes a picture as an array: [H W], [H W 1], [H W 3] or [H W 4].

  Args:
    pixels: uint8, or floating point in [0, 1].

  Raises:
    UserError: for another shape, type, range, or a picture too small.
  """
  pixels = np.asarray(pixels)
  if pixels.ndim == 2:
    pixels = pixels[..., None]
  if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4):
    raise errors.UserError(
      "expected a picture of shape [H, W], [H, W, 3] or [H, W, 4], found "
      f"{list(pixels.shape)}: give one picture, channels last"
    )
  if np.issubdtype(pixels.dtype, np.floating):
    pixels = _from_unit_range(pixels, "the picture")
  if pixels.dtype != np.uint8:
    raise errors.UserError(
      f"expected a uint8 or floating-point picture, found {pixels.dtype}"
    )
  squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  image = PIL.Image.fromarray(np.ascontiguousarray(squeezed))
  return _checked(Picture(_to_rgb(image, "the picture")))


def jpeg(pixels: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
  """A JPEG file of a picture, of a quality of 1 to 95 as Pillow counts it."""
  stream = io.BytesIO()
  PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
  return stream.getvalue()


def _checked(picture: Picture) -> Picture:
  height, width, _ = picture.pixels.shape
  if min(height, width) < MIN_SIDE:
    raise errors.UserError(
      f"expected a picture of at least {MIN_SIDE} x {MIN_SIDE} pixels, found "
      f"{width} x {height} in {picture.name}: give a larger one"
    )
  return picture


def _to_rgb(image: PIL.Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
  if image.mode.startswith("I"):
    image = PIL.Image.fromarray(_to_8_bits(np.asarray(image), name))
  if image.mode.startswith("F"):
    image = PIL.Image.fromarray(_from_unit_range(np.asarray(image), name))
  if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or (
    "transparency" in image.info
  ):
    image = image.convert("RGBA")
    white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
    image = PIL.Image.alpha_composite(white, image)
  return np.array(image.convert("RGB"))


def _from_unit_range(
  values: Num[np.ndarray, "*P"], name: str
) -> UInt8[np.ndarray, "*P"]:
  """8 bits of floating-point values in [0, 1]."""
  low, high = float(np.min(values)), float(np.max(values))
  if not 0 <= low <= high <= 1:  # NaN is none of these either.
    raise errors.UserError(
      f"expected floating-point pixels with values in [0, 1] in {name}, found "
      f"{low:g} to {high:g}: divide by the brightest value, or give 8 bits"
    )
  return np.round(values * 255).astype(np.uint8)


def _to_8_bits(
  values: Integer[np.ndarray, "*P"], name: str
) -> UInt8[np.ndarray, "*P"]:
  """8 bits of whole numbers of more; the bits in use are the range."""
  low, high = int(values.min()), int(values.max())
  if low < 0:
    raise errors.UserError(
      f"expected pixels of 0 or more in {name}, found {low}: save it with 8 or "
      "16 bits a channel, without sign"
    )
  bits = next(bits for bits in _BITS if high < 2**bits)
  if bits == 16:
    return (values // 256).astype(np.uint8)
  _LOG.warning(
    "%s: its values use %d bits (the largest is %d); stretched from these to 8",
    name,
    bits,
    high,
  )
  whole = 2**bits - 1
  return np.round(values.astype(np.float64) * (255 / whole)).astype(np.uint8)


def _deeper(picture: Picture, path: pathlib.Path) -> Picture:
  """The picture again where its 16 bits a channel are not all in use.

  Pillow keeps the upper 8 bits of colours, which are dark then.
  """
  if picture.pixels.max() >= 2 ** (14 - 8):
    return picture
  import av

  with path.open("rb") as stream, av.open(stream) as container:
    frame = next(container.decode(video=0))
    values = frame.to_ndarray(format="rgba64le")
  with PIL.Image.open(path) as opened:
    turn = _TURNS.get(_exif(opened, picture.name).get(_ORIENTATION, 1))
  colours = _to_8_bits(values[..., :3].astype(np.int64), picture.name)
  alpha = (values[..., 3:] // 256).astype(np.uint8)
  image = PIL.Image.fromarray(np.concatenate([colours, alpha], axis=-1))
  image = image.transpose(turn) if turn is not None else image
  return dataclasses.replace(picture, pixels=_to_rgb(image, picture.name))


def _exif(image: PIL.Image.Image, name: str) -> Mapping[int, Any]:
  """Fields of the EXIF data by number; none if it is damaged."""
  try:
    exif = image.getexif()
    return {**exif, **exif.get_ifd(_DETAILS)}
  except _DAMAGE as error:
    _LOG.warning("%s: its EXIF data cannot be read (%s)", name, error)
    return {}


def _focal_pixels(
  exif: Mapping[int, Any], pixels: UInt8[np.ndarray, "H W 3"], name: str
) -> float | None:
  """Focal length in pixels, if EXIF data have one that can be.

  From the 35 mm equivalent by the diagonal, else from millimetres and pixels
  per unit of the sensor.
  """
  height, width = pixels.shape[:2]
  equivalent = _number(exif, _FOCAL_35MM, name)
  if equivalent:
    focal = equivalent * math.hypot(height, width) / _DIAGONAL_35MM
  else:
    fields = _FOCAL_MM, _PLANE_RESOLUTION, _EXIF_WIDTH, _EXIF_HEIGHT
    millimetres, resolution, *sides = (_number(exif, f, name) for f in fields)
    unit = _UNIT_MM.get(exif.get(_PLANE_UNIT, 2))
    if not (millimetres and resolution and unit):
      return None
    whole = max((side for side in sides if side), default=max(height, width))
    focal = millimetres / unit * resolution * max(height, width) / whole
  low, high = plausibility.FOCAL_WIDTHS
  if not low * width <= focal <= high * width:
    _LOG.warning(
      "%s: the focal length in its EXIF data, %.3g picture widths, is ignored",
      name,
      focal / width,
    )
    return None
  return focal


def _number(exif: Mapping[int, Any], field: int, name: str) -> float | None:
  """A positive number of a field; None if it is missing, 0 or none."""
  if field not in exif:
    return None
  try:
    value = float(exif[field])
  except (TypeError, ValueError, ArithmeticError):
    value = math.nan
  if value == 0:  # Cameras write 0 for an unknown one.
    return None
  if not 0 < value < math.inf:
    _LOG.warning(
      "%s: EXIF field %#06x should be a positive number, found %.40r; ignored",
      name,
      field,
      exif[field],
    )
    return None
  return value
