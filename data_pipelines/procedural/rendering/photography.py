"""From light to a photograph: lens, shutter, sensor, development, JPEG.

Blur moves light only: depth and tracks stay those of the middle of the
exposure and of the pinhole.
"""

import dataclasses
import functools
import io

import numpy as np
import PIL.Image
import scipy.ndimage
from jaxtyping import Float, Float32, UInt8

from more4d_jax import pictures

_STEPS = 4096
_NOISES = 1 << 20
_BRIGHTEST = 8.0
_SHUTTER_TAPS = 5
_TILE = 8
_SHARP = 0.06  # Of the depth, on both sides of the focus.


@dataclasses.dataclass(frozen=True)
class Optics:
  """A lens, a shutter and a sensor.

  Attributes:
    exposure: what the mean light of a picture is brought to, linear.
    tint: white balance, [3].
    focus: depth that is sharp, metres.
    blur: radius of what is endlessly far, as a share of the picture's height.
    shutter: share of the time between two frames in which light is gathered.
    softness: of the lens, standard deviation in pixels.
    vignette: loss of light in the corners.
    contrast: of the development; 1 is neutral.
    saturation: of the development; 1 is neutral.
    shot_noise, read_noise: standard deviation at white, and at black.
    quality: of the JPEG; 0 leaves it out.
  """

  exposure: float
  tint: Float[np.ndarray, "3"]
  focus: float
  blur: float
  shutter: float
  softness: float
  vignette: float
  contrast: float
  saturation: float
  shot_noise: float
  read_noise: float
  quality: int


def gain(optics: Optics, light: Float32[np.ndarray, "H W 3"]) -> float:
  """Returns the exposure of a clip, as its first picture asks for."""
  level = np.minimum(light.mean(axis=-1), _BRIGHTEST)
  typical = 0.5 * level.mean() + 0.5 * np.exp(np.log(level + 0.01).mean())
  return float(optics.exposure / max(typical, 1e-3))


def _levels(picture, radius):
  """Returns pictures blurred by `radius` / 4, `radius` / 2 and `radius`."""
  blurred = []
  for part in (0.25, 0.5, 1.0):
    deviation = part * radius
    step = 2 if deviation > 2 and min(picture.shape[:2]) > 8 else 1
    small = picture[::step, ::step]
    small = scipy.ndimage.gaussian_filter(
      small, (deviation / step, deviation / step, 0), mode="nearest", truncate=2
    )
    if step == 2:
      small = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)
      small = small[: picture.shape[0], : picture.shape[1]]
    blurred.append(small)
  return blurred


def defocus(
  optics: Optics,
  light: Float32[np.ndarray, "H W 3"],
  depth: Float[np.ndarray, "H W"],
) -> Float32[np.ndarray, "H W 3"]:
  """Blurs what is out of focus."""
  radius = optics.blur * light.shape[0]
  if radius < 0.6:
    return light
  share = np.abs(1 - optics.focus / np.maximum(depth, 0.05)).astype(np.float32)
  share = np.clip(share - _SHARP, 0, 1.6) / 1.6
  share = np.maximum(share, scipy.ndimage.uniform_filter(share, 5))
  place = np.where(share < 0.25, share / 0.25, 1 + np.log2(share / 0.25 + 1e-6))
  result = light
  for number, blurred in enumerate(_levels(light, 1.6 * radius)):
    part = np.clip(place - number, 0, 1)[..., None]
    result = result + part * (blurred - result)
  return result.astype(np.float32)


def smear(
  light: Float32[np.ndarray, "H W 3"], motion: Float32[np.ndarray, "2 H W"]
) -> Float32[np.ndarray, "H W 3"]:
  """Blurs along the way of each pixel while the shutter is open, in pixels."""
  speed = np.hypot(*motion)
  if speed.max() < 0.7:
    return light
  height, width = speed.shape
  rows, columns = -(-height // _TILE), -(-width // _TILE)
  pad = ((0, rows * _TILE - height), (0, columns * _TILE - width))
  tiles = np.pad(speed, pad).reshape(rows, _TILE, columns, _TILE)
  tiles = tiles.transpose(0, 2, 1, 3).reshape(rows, columns, -1)
  fastest = tiles.argmax(axis=-1)
  row = np.arange(rows)[:, None] * _TILE + fastest // _TILE
  column = np.arange(columns)[None] * _TILE + fastest % _TILE
  row, column = np.minimum(row, height - 1), np.minimum(column, width - 1)
  spread = np.repeat(
    np.repeat(motion[:, row, column], _TILE, axis=1), _TILE, axis=2
  )[:, :height, :width]
  way = np.where(np.hypot(*spread) > speed + 1, spread, motion)
  pixels = np.flatnonzero(np.hypot(*way).ravel() > 0.7)
  x, y = pixels % width, pixels // width
  dx, dy = way.reshape(2, -1)[:, pixels]
  flat = light.reshape(-1, 3)
  total = np.zeros((pixels.size, 3), np.float32)
  for share in np.linspace(-0.5, 0.5, _SHUTTER_TAPS):
    column = np.clip(np.rint(x + share * dx), 0, width - 1).astype(np.int32)
    row = np.clip(np.rint(y + share * dy), 0, height - 1).astype(np.int32)
    total += flat.take(row * width + column, axis=0)
  result = flat.copy()
  result[pixels] = total / _SHUTTER_TAPS
  return result.reshape(light.shape)


def _soften(light, deviation):
  """Blurs by a kernel of three pixels along each axis."""
  side = np.float32(min(0.5 * deviation**2, 0.25))
  for axis in (0, 1):
    padded = np.concatenate(
      [
        light.take([0], axis),
        light,
        light.take([-1], axis),
      ],
      axis,
    )
    count = light.shape[axis]
    before, after = (
      padded[start : start + count]
      if axis == 0
      else padded[:, start : start + count]
      for start in (0, 2)
    )
    light = light * (1 - 2 * side) + side * (before + after)
  return light


@functools.lru_cache(maxsize=8)
def _levels_by_root(contrast: float) -> UInt8[np.ndarray, "S"]:
  """Returns the development: sRGB levels by the root of the linear light.

  A shoulder reaches white slowly; middle grey (0.18) stays what it is.
  """
  x = np.linspace(0, 1, _STEPS) ** 2 * _BRIGHTEST
  y = x * (1 + x / 9) / (1 + x) * 1.18 / 1.02
  y = np.clip(0.18 * (np.maximum(y, 1e-6) / 0.18) ** contrast, 0, 1)
  srgb = np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)
  return np.rint(255 * srgb).astype(np.uint8)


def develop(
  optics: Optics,
  light: Float32[np.ndarray, "H W 3"],
  rng: np.random.Generator,
) -> UInt8[np.ndarray, "H W 3"]:
  """Returns the picture of exposed light, with the sensor's noise."""
  height, width = light.shape[:2]
  y = (np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1
  x = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
  corner = 0.5 * (y[:, None] ** 2 + x[None] ** 2)
  grey = np.array([[0.2126], [0.7152], [0.0722]])
  mixed = optics.saturation * np.eye(3) + (1 - optics.saturation) * grey
  light = light @ (optics.tint[:, None] * mixed).astype(np.float32)
  light *= (1 - optics.vignette * corner * corner)[..., None]
  light = _soften(np.maximum(light, 0), optics.softness)
  deviation = np.sqrt(
    np.float32(optics.shot_noise**2) * light + np.float32(optics.read_noise**2)
  )
  light = light + deviation * _noise(rng, light.shape)
  # Fine steps near black, where the curve is steep.
  index = np.sqrt(np.clip(light / _BRIGHTEST, 0, 1)) * (_STEPS - 1)
  picture = _levels_by_root(optics.contrast).take(index.astype(np.int32))
  return _compressed(picture, optics.quality)


@functools.cache
def _noises() -> Float32[np.ndarray, "S"]:
  """Returns a row of normal numbers; every picture takes a part."""
  return np.random.default_rng(0).standard_normal(_NOISES, dtype=np.float32)


def _noise(rng, shape):
  """Returns normal numbers of a shape; different places of one row."""
  size = int(np.prod(shape))
  start = int(rng.integers(_NOISES // 2))
  row = _noises()[start:]
  return np.resize(row, size).reshape(shape)


def _compressed(picture, quality):
  """Returns the picture after JPEG."""
  if not quality:
    return picture
  file = io.BytesIO(pictures.jpeg(picture, quality))
  return np.asarray(PIL.Image.open(file).convert("RGB"))
