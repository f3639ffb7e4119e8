"""A user's picture and its depth, brought to a model's size.

NumPy and Pillow only. Every mistake is a `UserError` of one line, so that a
command can check all its inputs before it loads a model.
"""

import dataclasses
import math
import os
import pathlib

import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import Bool, Float, Shaped, UInt8

from more4d_jax import depth_sources, errors

MIN_SIDE = 16
DEFAULT_FOV = 60.0
_EXIF_SUBDIRECTORY, _FOCAL_35MM = 0x8769, 0xA405
_DIAGONAL_35MM = math.hypot(36.0, 24.0)

PathLike = str | os.PathLike[str]


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


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A picture, its camera and perhaps its depth at a model's size.

  Attributes:
    image: colours.
    intrinsics: (fx, fy, cx, cy) in pixels of `image`.
    depth: metres, finite and positive, or None.
    valid: True where the source knew the depth, elsewhere it is the median of
      the known ones; None without depth.
    invalid_depth: values of the source that were replaced by the median.
  """

  image: UInt8[np.ndarray, "H W 3"]
  intrinsics: Float[np.ndarray, "4"]
  depth: Float[np.ndarray, "H W"] | None = None
  valid: Bool[np.ndarray, "H W"] | None = None
  invalid_depth: int = 0


def load_picture(path: PathLike) -> Picture:
  """Reads a picture file, turned upright by its EXIF orientation.

  Grey pictures repeat their channel; 16-bit grey keeps its upper 8 bits;
  transparent pixels are blended over white.

  Raises:
    UserError: if the file is missing, no picture, or too small.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise errors.UserError(
      f"expected a picture at {path}, found no such file: check --image"
    )
  try:
    with PIL.Image.open(path) as opened:
      focal_35mm = opened.getexif().get_ifd(_EXIF_SUBDIRECTORY)
      upright = PIL.ImageOps.exif_transpose(opened)
      upright.load()
  except PIL.Image.DecompressionBombError as error:
    raise errors.UserError(
      f"{path} is too large to open safely ({error}): scale it down first"
    ) from error
  except (OSError, SyntaxError, ValueError) as error:
    raise errors.UserError(
      f"expected a picture in {path}, found a file that Pillow cannot read: "
      "give a JPEG, PNG or WebP file"
    ) from error
  if upright.mode == "F":
    raise errors.UserError(
      f"expected 8 or 16 bits a channel in {path}, found floating-point "
      "pixels whose range is unknown: save it as PNG"
    )
  pixels = _to_rgb(upright)
  focal = _focal_pixels(float(focal_35mm.get(_FOCAL_35MM) or 0), pixels)
  return _checked(Picture(pixels, focal, str(path)))


def picture_from_array(pixels: Shaped[np.ndarray, "..."]) -> Picture:
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
    if not (
      np.isfinite(pixels).all() and 0 <= pixels.min() <= pixels.max() <= 1
    ):
      raise errors.UserError(
        "expected a floating-point picture with values in [0, 1], found "
        "others: divide by 255 or give uint8"
      )
    pixels = np.round(pixels * 255).astype(np.uint8)
  if pixels.dtype != np.uint8:
    raise errors.UserError(
      f"expected a uint8 or floating-point picture, found {pixels.dtype}"
    )
  squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  return _checked(Picture(_to_rgb(PIL.Image.fromarray(squeezed))))


def _checked(picture: Picture) -> Picture:
  height, width, _ = picture.pixels.shape
  if min(height, width) < MIN_SIDE:
    raise errors.UserError(
      f"expected a picture of at least {MIN_SIDE} x {MIN_SIDE} pixels, found "
      f"{width} x {height} in {picture.name}: give a larger one"
    )
  return picture


def _to_rgb(image: PIL.Image.Image) -> UInt8[np.ndarray, "H W 3"]:
  if image.mode.startswith("I"):
    values = np.asarray(image).astype(np.float64)
    grey = np.clip(values // 256, 0, 255).astype(np.uint8)
    image = PIL.Image.fromarray(grey)
  if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or (
    "transparency" in image.info
  ):
    image = image.convert("RGBA")
    white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
    image = PIL.Image.alpha_composite(white, image)
  return np.array(image.convert("RGB"))


def _focal_pixels(
  focal_35mm: float, pixels: UInt8[np.ndarray, "H W 3"]
) -> float | None:
  """Focal length in pixels from the 35 mm equivalent, by the diagonal."""
  if not focal_35mm > 0:
    return None
  diagonal = math.hypot(*pixels.shape[:2])
  return focal_35mm * diagonal / _DIAGONAL_35MM


def prepare(
  picture: Picture,
  depth: depth_sources.DepthMap | None,
  size: tuple[int, int],
  fov: float | None = None,
) -> Prepared:
  """Crops to the model's aspect around the centre, then resizes.

  Args:
    picture: any size.
    depth: of the whole picture; its resolution may differ from the
      picture's, its aspect may not. Sampled without blending. Unknown values
      become the median of the others.
    size: (H, W) of the model.
    fov: horizontal angle of view of the whole picture in degrees; otherwise
      the camera is that of the depth map, if it knows one, otherwise from the
      picture's focal length, otherwise 60 degrees.

  Raises:
    UserError: for a depth map of another aspect, or an impossible angle.
  """
  rows, cols = picture.pixels.shape[:2]
  left, top, right, bottom = _centre_crop((rows, cols), size)
  height, width = size
  image = PIL.Image.fromarray(picture.pixels).resize(
    (width, height),
    PIL.Image.Resampling.LANCZOS,
    box=(left, top, right, bottom),
  )
  sx, sy = width / (right - left), height / (bottom - top)
  fx, fy, cx, cy = _camera(picture, depth, fov)
  intrinsics = (fx * sx, fy * sy, (cx - left) * sx, (cy - top) * sy)
  prepared = Prepared(np.array(image), np.array(intrinsics, np.float32))
  if depth is None:
    return prepared
  places = _sample_places(depth.depth.shape, (rows, cols), size)
  return dataclasses.replace(
    prepared,
    depth=depth.filled()[places],
    valid=depth.valid[places],
    invalid_depth=depth.invalid_count,
  )


def _camera(
  picture: Picture, depth: depth_sources.DepthMap | None, fov: float | None
) -> tuple[float, float, float, float]:
  """(fx, fy, cx, cy) in pixels of the whole picture."""
  rows, cols = picture.pixels.shape[:2]
  if fov is None and depth is not None and depth.intrinsics is not None:
    fx, fy, cx, cy = depth.intrinsics.tolist()
    sx, sy = cols / depth.depth.shape[1], rows / depth.depth.shape[0]
    return fx * sx, fy * sy, cx * sx, cy * sy
  focal = focal_length(picture, fov)
  return focal, focal, cols / 2, rows / 2


def focal_length(picture: Picture, fov: float | None) -> float:
  """Focal length in pixels of the whole picture.

  Raises:
    UserError: unless the angle lies between 1 and 170 degrees.
  """
  if fov is None and picture.focal is not None:
    return picture.focal
  angle = DEFAULT_FOV if fov is None else fov
  if not 1 <= angle <= 170:
    raise errors.UserError(
      f"expected a horizontal angle of view of 1 to 170 degrees, found {angle}"
      ": check --fov"
    )
  return picture.pixels.shape[1] / (2 * math.tan(math.radians(angle) / 2))


def _centre_crop(
  source: tuple[int, int], size: tuple[int, int]
) -> tuple[float, float, float, float]:
  """The largest centred box (left, top, right, bottom) of a size's aspect."""
  rows, cols = source
  scale = min(rows / size[0], cols / size[1])
  half_height, half_width = size[0] * scale / 2, size[1] * scale / 2
  return (
    cols / 2 - half_width,
    rows / 2 - half_height,
    cols / 2 + half_width,
    rows / 2 + half_height,
  )


def _sample_places(
  shape: tuple[int, int], source: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """Rows [H 1] and columns [1 W] of a depth map that the model's pixels see."""
  rows, cols = shape
  if abs(cols / rows * source[0] / source[1] - 1) > 0.02:
    raise errors.UserError(
      f"expected a depth map of the picture's aspect "
      f"({source[1]} x {source[0]} pixels), found {cols} x {rows}: give the "
      "depth of the whole picture"
    )
  left, top, right, bottom = _centre_crop((rows, cols), size)
  y = top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0]
  x = left + (np.arange(size[1]) + 0.5) * (right - left) / size[1]
  y = np.clip(y.astype(np.int64), 0, rows - 1)
  x = np.clip(x.astype(np.int64), 0, cols - 1)
  return y[:, None], x[None, :]
