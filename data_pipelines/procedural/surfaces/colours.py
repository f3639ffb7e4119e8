"""Colours as photographs have them, drawn from a table of numbers.

`photograph_colours.json` counts how often each lightness, chroma and hue
occurs in photographs; `benchmarks/scene_statistics.py --measure-colours` made
it and says of which.
"""

import functools
import json
import pathlib

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural import randomness

_TABLE = pathlib.Path(__file__).with_name("photograph_colours.json")
_WHITE = np.array([0.95047, 1.0, 1.08883])
_XYZ_FROM_RGB = np.array(
  [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
  ]
)


def linear(srgb) -> Float[np.ndarray, "*N"]:
  """Returns linear light of sRGB values in [0, 1]."""
  srgb = np.asarray(srgb, np.float64)
  return np.where(
    srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4
  )


def to_lab(rgb) -> Float[np.ndarray, "*N 3"]:
  """Returns CIELAB (D65) of linear light, [... 3]."""
  ratio = np.asarray(rgb) @ _XYZ_FROM_RGB.T / _WHITE
  root = np.where(
    ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116
  )
  x, y, z = np.moveaxis(root, -1, 0)
  return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(lab) -> Float[np.ndarray, "*N 3"]:
  """Returns linear light in [0, 1] of CIELAB (D65), [... 3]."""
  light, a, b = np.moveaxis(np.asarray(lab, np.float64), -1, 0)
  y = (light + 16) / 116
  root = np.stack([y + a / 500, y, y - b / 200], axis=-1)
  ratio = np.where(root > 6 / 29, root**3, (116 * root - 16) * 27 / 24389)
  return np.clip(ratio * _WHITE @ np.linalg.inv(_XYZ_FROM_RGB).T, 0, 1)


def table(lab: Float[np.ndarray, "N 3"]) -> np.ndarray:
  """Counts colours: [10 lightness, 8 chroma, 12 hue], shares of the whole."""
  chroma = np.hypot(lab[:, 1], lab[:, 2])
  hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])) % 360
  counts, _ = np.histogramdd(
    np.stack([lab[:, 0], np.minimum(chroma, 79.9), hue], -1),
    bins=(10, 8, 12),
    range=((0, 100), (0, 80), (0, 360)),
  )
  return counts / counts.sum()


@functools.lru_cache
def _shares() -> np.ndarray:
  return np.cumsum(np.array(json.loads(_TABLE.read_text())["shares"]).ravel())


def of_photographs(
  rng: np.random.Generator, lightness: tuple[float, float] = (25.0, 85.0)
) -> Float[np.ndarray, "3"]:
  """Draws a colour as often as photographs show it, linear light.

  Args:
    rng: source of the draw.
    lightness: range of CIELAB's L to which others are moved.
  """
  shares = _shares()
  place = np.searchsorted(shares, rng.random() * shares[-1], side="right")
  low = np.array(np.unravel_index(min(place, shares.size - 1), (10, 8, 12)))
  light, chroma, hue = (low + rng.random(3)) * (10.0, 10.0, 30.0)
  light, hue = np.clip(light, *lightness), np.radians(hue)
  return from_lab([light, chroma * np.cos(hue), chroma * np.sin(hue)])


# Lightness, chroma and hue in degrees of what has colours of its own, from
# and to.
NATURAL = {
  "grass": ((38, 55), (22, 42), (100, 122)),
  "dry grass": ((55, 72), (20, 34), (80, 96)),
  "foliage": ((28, 48), (18, 38), (105, 135)),
  "autumn": ((38, 58), (35, 58), (50, 85)),
  "earth": ((30, 52), (10, 24), (55, 80)),
  "sand": ((62, 78), (12, 24), (75, 90)),
  "stone": ((42, 68), (1, 9), (60, 110)),
  "asphalt": ((28, 44), (0, 4), (200, 300)),
  "concrete": ((52, 74), (1, 7), (70, 110)),
  "brick": ((34, 52), (22, 38), (38, 60)),
  "wood": ((32, 66), (16, 34), (58, 78)),
  "bark": ((24, 42), (5, 14), (55, 85)),
  "plaster": ((70, 90), (1, 14), (60, 105)),
  "metal": ((45, 70), (0, 5), (200, 280)),
  "snow": ((88, 95), (0, 4), (220, 280)),
  "water": ((22, 36), (6, 16), (180, 240)),
}


def natural(rng: np.random.Generator, name: str) -> Float[np.ndarray, "3"]:
  """Draws a colour of a natural material, linear light."""
  light, chroma, hue = (rng.uniform(*r) for r in NATURAL[name])
  hue = np.radians(hue)
  return from_lab([light, chroma * np.cos(hue), chroma * np.sin(hue)])


def calmed(
  rng: np.random.Generator, srgb: Float[np.ndarray, "K 3"], vivid: float
) -> Float[np.ndarray, "K 3"]:
  """Turns poster colours into those of things in light, linear."""
  lab = to_lab(linear(srgb)) * [0.92, vivid, vivid]
  lab = lab + rng.normal((3.0, 0.0, 0.0), (3.0, 2.0, 2.0))
  return from_lab(np.clip(lab, (6, -100, -100), (90, 100, 100)))


def any_of(rng: np.random.Generator, *names: str) -> Float[np.ndarray, "3"]:
  """Draws a colour of one of several natural materials, linear light."""
  return natural(rng, randomness.pick(rng, names))
