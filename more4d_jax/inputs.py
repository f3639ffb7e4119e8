"""A user's picture and its depth, brought to a model's size.

NumPy and Pillow only. Every mistake is a `UserError` of one line, so that a
command can check all its inputs before it loads a model.
"""

import dataclasses
import logging
import math
from typing import Literal

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, UInt8

from more4d_jax import depth_sources, errors, pictures

DEFAULT_FOV = 60.0
Fit = Literal["crop", "letterbox"]
_LOG = logging.getLogger(__name__)
_SAID_LOSS = 0.005  # Share of a picture; less is rounding to pixels.


@dataclasses.dataclass(frozen=True)
class Window:
  """Rows and columns of a model's frame that show the picture.

  Attributes:
    top: first row.
    left: first column.
    bottom: row after the last.
    right: column after the last.
  """

  top: int
  left: int
  bottom: int
  right: int

  @classmethod
  def centred(cls, inner: tuple[int, int], outer: tuple[int, int]) -> "Window":
    """Where (H, W) of a picture lie in the middle of a larger frame."""
    top, left = ((o - i) // 2 for o, i in zip(outer, inner))
    return cls(top, left, top + inner[0], left + inner[1])

  @classmethod
  def fitted(cls, inner: tuple[int, int], outer: tuple[int, int]) -> "Window":
    """The largest window of an aspect (H, W) in the middle of a frame."""
    scale = min(o / i for o, i in zip(outer, inner))
    sides = [min(o, max(1, round(i * scale))) for o, i in zip(outer, inner)]
    return cls.centred(tuple(sides), outer)

  def scaled(self, size: tuple[int, int], new: tuple[int, int]) -> "Window":
    """The same part of a frame whose (H, W) changes."""
    rows, cols = (n / s for n, s in zip(new, size))
    top, left = round(self.top * rows), round(self.left * cols)
    high = round((self.bottom - self.top) * rows)
    wide = round((self.right - self.left) * cols)
    return Window(top, left, min(top + high, new[0]), min(left + wide, new[1]))

  @property
  def size(self) -> tuple[int, int]:
    """(H, W) of the window."""
    return self.bottom - self.top, self.right - self.left

  def beside(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Rows above and below, columns left and right, in a frame of (H, W)."""
    return (
      (self.top, size[0] - self.bottom),
      (self.left, size[1] - self.right),
    )

  @property
  def slices(self) -> tuple[slice, slice]:
    """Of rows and columns."""
    return slice(self.top, self.bottom), slice(self.left, self.right)

  def intrinsics(self, whole: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4"]:
    """Intrinsics in pixels of the window, from those of the frame."""
    return (whole - np.asarray([0, 0, self.left, self.top])).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A picture, its camera and perhaps its depth at a model's size.

  Attributes:
    image: colours.
    intrinsics: (fx, fy, cx, cy) in pixels of `image`.
    window: where the picture is; the borders of a letterbox repeat its edge.
    depth: metres, finite and positive, or None.
    valid: True where the source knew the depth, elsewhere it is the median of
      the known ones; None without depth.
    invalid_depth: values of the source that were replaced by the median.
    depth_estimated: whether a checkpoint's network gave the depth.
    finer: the same on the grid of a scene that is larger than the model's.
  """

  image: UInt8[np.ndarray, "H W 3"]
  intrinsics: Float[np.ndarray, "4"]
  window: Window
  depth: Float[np.ndarray, "H W"] | None = None
  valid: Bool[np.ndarray, "H W"] | None = None
  invalid_depth: int = 0
  depth_estimated: bool = False
  finer: "Prepared | None" = None

  @property
  def known(self) -> Bool[np.ndarray, "H W"]:
    """True where the depth is not filled; a letterbox's borders repeat it."""
    known = np.ones_like(self.valid)
    known[self.window.slices] = self.valid[self.window.slices]
    return known

  def with_camera(self, intrinsics: Float[np.ndarray, "4"]) -> "Prepared":
    """The same seen by another camera, in pixels of `image`."""
    finer = self.finer
    if finer is not None:
      y, x = (
        f / s for f, s in zip(finer.image.shape[:2], self.image.shape[:2])
      )
      scaled = (intrinsics * np.asarray([x, y, x, y])).astype(np.float32)
      finer = dataclasses.replace(finer, intrinsics=scaled)
    return dataclasses.replace(self, intrinsics=intrinsics, finer=finer)


@dataclasses.dataclass(frozen=True)
class _Frame:
  """How a frame of a model lies over a picture.

  Attributes:
    box: left, top, right and bottom of the frame in pixels of the picture; of
      a letterbox they lie outside it.
    window: the picture in pixels of the frame.
  """

  box: tuple[float, float, float, float]
  window: Window


def prepare(
  picture: pictures.Picture,
  depth: depth_sources.DepthMap | None,
  size: tuple[int, int],
  fov: float | None = None,
  fit: Fit = "crop",
) -> Prepared:
  """Brings a picture to the model's aspect and size.

  Args:
    picture: any size.
    depth: of the whole picture; its resolution may differ from the
      picture's, its aspect may not. Sampled without blending. Unknown values
      become the median of the others.
    size: (H, W) of the model.
    fov: horizontal angle of view of the whole picture in degrees; otherwise
      the camera is that of the depth map, if it knows one, otherwise from the
      picture's focal length, otherwise 60 degrees.
    fit: "crop" cuts to the model's aspect around the centre, and warns of the
      share that is lost; "letterbox" keeps the whole picture and repeats its
      edge beside it.

  Raises:
    UserError: for a depth map of another aspect, or an impossible angle.
  """
  source = picture.pixels.shape[:2]
  frame = _frame(source, size, fit)
  left, top, right, bottom = frame.box
  lost = max(0.0, 1 - (right - left) * (bottom - top) / math.prod(source))
  if fit == "crop" and lost > _SAID_LOSS:
    _LOG.warning(
      "%s: %.0f %% of the picture is cut off to the model's aspect; --fit "
      "letterbox keeps it",
      picture.name,
      100 * lost,
    )
  return _prepared(picture, depth, frame, size, fov)


def prepare_finer(
  picture: pictures.Picture,
  depth: depth_sources.DepthMap | None,
  sizes: tuple[tuple[int, int], tuple[int, int]],
  fov: float | None = None,
  fit: Fit = "crop",
) -> Prepared:
  """`prepare` for a finer grid that shows the same as the model's frame.

  Args:
    picture: any size.
    depth: of the whole picture.
    sizes: (H, W) of the model, and of the finer grid.
    fov: as `prepare` takes it.
    fit: as `prepare` takes it.
  """
  coarse, fine = sizes
  frame = _frame(picture.pixels.shape[:2], coarse, fit)
  window = frame.window.scaled(coarse, fine)
  return _prepared(picture, depth, _Frame(frame.box, window), fine, fov)


def shown(
  source: tuple[int, int], size: tuple[int, int], fit: Fit
) -> tuple[tuple[float, float], Window]:
  """What a model's frame shows of a picture: (H, W) of it, and where."""
  frame = _frame(source, size, fit)
  left, top, right, bottom = frame.box
  high = min(bottom, float(source[0])) - max(top, 0.0)
  wide = min(right, float(source[1])) - max(left, 0.0)
  return (high, wide), frame.window


def _prepared(
  picture: pictures.Picture,
  depth: depth_sources.DepthMap | None,
  frame: _Frame,
  size: tuple[int, int],
  fov: float | None,
) -> Prepared:
  source = picture.pixels.shape[:2]
  left, top, right, bottom = frame.box
  sx, sy = size[1] / (right - left), size[0] / (bottom - top)
  fx, fy, cx, cy = _camera(picture, depth, fov)
  intrinsics = (fx * sx, fy * sy, (cx - left) * sx, (cy - top) * sy)
  prepared = Prepared(
    _resized(picture.pixels, frame, size),
    np.array(intrinsics, np.float32),
    frame.window,
  )
  if depth is None:
    return prepared
  places = _sample_places(depth.depth.shape, source, size, frame.box)
  valid = np.zeros(size, bool)
  valid[frame.window.slices] = depth.valid[places][frame.window.slices]
  return dataclasses.replace(
    prepared,
    depth=depth.filled()[places],
    valid=valid,
    invalid_depth=depth.invalid_count,
    depth_estimated=depth.estimated,
  )


def check(
  picture: pictures.Picture,
  depth: depth_sources.DepthMap | None,
  fov: float | None,
) -> None:
  """Finds every mistake that `prepare` would, before a model is known."""
  focal_length(picture, fov)
  if depth is not None:
    _check_aspect(depth.depth.shape, picture.pixels.shape[:2])


def whole_size(
  source: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int]:
  """(H, W) of about the model's pixels in a picture's own aspect.

  Args:
    source: (H, W) of the picture.
    size: (H, W) of the model; returned where the aspects agree.
  """
  scale = math.sqrt(math.prod(size) / math.prod(source))
  return tuple(max(1, round(side * scale)) for side in source)


def resize(
  pixels: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
  """A picture in another resolution."""
  image = PIL.Image.fromarray(pixels)
  return np.array(image.resize(size[::-1], PIL.Image.Resampling.LANCZOS))


def _resized(
  pixels: UInt8[np.ndarray, "H W 3"], frame: _Frame, size: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
  """What a frame shows of a picture, the edge repeated outside it."""
  rows, cols = pixels.shape[:2]
  window = frame.window
  left, top, right, bottom = frame.box
  image = PIL.Image.fromarray(pixels).resize(
    (window.right - window.left, window.bottom - window.top),
    PIL.Image.Resampling.LANCZOS,
    box=(max(left, 0), max(top, 0), min(right, cols), min(bottom, rows)),
  )
  return np.pad(np.array(image), (*window.beside(size), (0, 0)), mode="edge")


def _camera(
  picture: pictures.Picture,
  depth: depth_sources.DepthMap | None,
  fov: float | None,
) -> tuple[float, float, float, float]:
  """(fx, fy, cx, cy) in pixels of the whole picture."""
  rows, cols = picture.pixels.shape[:2]
  if fov is None and depth is not None and depth.intrinsics is not None:
    fx, fy, cx, cy = depth.intrinsics.tolist()
    sx, sy = cols / depth.depth.shape[1], rows / depth.depth.shape[0]
    return fx * sx, fy * sy, cx * sx, cy * sy
  focal = focal_length(picture, fov)
  return focal, focal, cols / 2, rows / 2


def focal_length(picture: pictures.Picture, fov: float | None) -> float:
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


def _frame(source: tuple[int, int], size: tuple[int, int], fit: Fit) -> _Frame:
  """Lays a frame of a size's aspect over a picture, their centres together."""
  (rows, cols), (height, width) = source, size
  if fit == "crop":
    scale = min(rows / height, cols / width)
    half_height, half_width = height * scale / 2, width * scale / 2
    box = (
      cols / 2 - half_width,
      rows / 2 - half_height,
      cols / 2 + half_width,
      rows / 2 + half_height,
    )
    return _Frame(box, Window(0, 0, height, width))
  window = Window.fitted(source, size)
  high, wide = window.size
  sy, sx = rows / high, cols / wide
  left, top = -window.left * sx, -window.top * sy
  return _Frame((left, top, left + width * sx, top + height * sy), window)


def _sample_places(
  shape: tuple[int, int],
  source: tuple[int, int],
  size: tuple[int, int],
  box: tuple[float, float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
  """Rows [H 1] and columns [1 W] of a depth map that the model's pixels see."""
  _check_aspect(shape, source)
  rows, cols = shape
  left, right = (edge * cols / source[1] for edge in box[::2])
  top, bottom = (edge * rows / source[0] for edge in box[1::2])
  y = top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0]
  x = left + (np.arange(size[1]) + 0.5) * (right - left) / size[1]
  y = np.clip(np.floor(y).astype(np.int64), 0, rows - 1)
  x = np.clip(np.floor(x).astype(np.int64), 0, cols - 1)
  return y[:, None], x[None, :]


def _check_aspect(shape: tuple[int, int], source: tuple[int, int]) -> None:
  rows, cols = shape
  off = abs(cols * source[0] - rows * source[1])
  if off > max(0.02 * rows * source[1], *source):  # Or by one pixel.
    raise errors.UserError(
      f"expected a depth map of the picture's aspect "
      f"({source[1]} x {source[0]} pixels), found {cols} x {rows}: give the "
      "depth of the whole picture"
    )
