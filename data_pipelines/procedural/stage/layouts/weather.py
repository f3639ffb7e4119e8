"""Daylight out of doors and lamps and windows inside."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.rendering import lights
from data_pipelines.procedural.surfaces import colours, library


@dataclasses.dataclass(frozen=True)
class Weather:
  """A kind of daylight; ranges from and to.

  Attributes:
    sun: strength of the key light beside the light from the sky.
    warm: how much redder than white it is, 0 to 1.
    heights: of the sun, degrees.
    cover: of clouds.
    clear: metres of clear air.
    softness: of shadows, metres.
    words: that a caption may use.
  """

  sun: tuple[float, float]
  warm: tuple[float, float]
  heights: tuple[float, float]
  cover: tuple[float, float]
  clear: tuple[float, float]
  softness: float
  words: tuple[str, ...]


WEATHER = {
  "sunny": Weather(
    (2.2, 4.0),
    (0.05, 0.18),
    (28, 65),
    (-0.6, 0.05),
    (400, 2000),
    0.05,
    ("on a sunny day", "in bright sunlight"),
  ),
  "hazy": Weather(
    (0.9, 1.8),
    (0.1, 0.25),
    (20, 55),
    (-0.1, 0.5),
    (70, 260),
    0.12,
    ("on a hazy day", "in soft sunlight"),
  ),
  "cloudy": Weather(
    (0.1, 0.4),
    (0.0, 0.06),
    (35, 70),
    (0.5, 1.2),
    (150, 700),
    0.5,
    ("under a cloudy sky", "on a grey day"),
  ),
  "evening": Weather(
    (2.0, 4.0),
    (0.45, 0.85),
    (6, 18),
    (-0.5, 0.2),
    (150, 900),
    0.06,
    ("in the evening sun", "in warm evening light"),
  ),
}
_SHARES = (0.42, 0.2, 0.22, 0.16)


def key_direction(rng: np.random.Generator, height: float) -> np.ndarray:
  """Draws a direction towards a light, mostly from the sides or behind."""
  azimuth = rng.normal(0, 1.3)
  flat = np.cos(height)
  return np.array(
    [flat * np.sin(azimuth), -np.sin(height), -flat * np.cos(azimuth)]
  )


def daylight(
  rng: np.random.Generator, ground: np.ndarray
) -> tuple[lights.Lighting, str]:
  """Draws daylight and what a caption may say of it.

  Args:
    rng: source of the draws.
    ground: albedo of the ground, which lights what faces down, [3].
  """
  name = randomness.pick(rng, tuple(WEATHER), _SHARES)
  kind = WEATHER[name]
  height = np.radians(rng.uniform(*kind.heights))
  direction = key_direction(rng, height)
  warm = rng.uniform(*kind.warm)
  white = np.array([1.0, 1 - 0.28 * warm, 1 - 0.72 * warm])
  sun = rng.uniform(*kind.sun) * white
  grey = kind.cover[0] > 0.4
  blue = np.array([0.62, 0.8, 1.05]) if not grey else np.array([0.92, 0.96, 1])
  above = blue * rng.uniform(0.85, 1.1)
  shone = sun * np.sin(height)
  below = 0.6 * ground * (shone + above) + 0.08
  zenith = (
    colours.from_lab([rng.uniform(38, 58), -4, rng.uniform(-40, -24)]) * 2.4
  )
  horizon = np.array([0.95, 1.0, 1.06]) * rng.uniform(1.3, 2.0)
  horizon = horizon * (1 - 0.5 * warm) + 0.5 * warm * white * 1.6
  if grey:
    zenith, horizon = np.full(3, 1.2), np.full(3, 1.7)
  cloud = 1.1 * above + 0.4 * sun
  if grey:
    cloud = np.full(3, 1.5) * rng.uniform(0.85, 1.1)
  sky = lights.Sky(
    zenith,
    horizon,
    direction,
    0.5 * sun,
    library.any_of(rng, "clouds"),
    rng.uniform(*kind.cover),
    cloud,
    rng.uniform(0, 2 * np.pi),
  )
  lighting = lights.Lighting(
    direction,
    sun,
    kind.softness,
    above,
    below,
    haze=0.7 * horizon,
    clear=float(np.exp(rng.uniform(*np.log(kind.clear)))),
    sky=sky,
  )
  return lighting, randomness.pick(rng, kind.words)


def room_light(
  rng: np.random.Generator, reach: float, floor: np.ndarray
) -> lights.Lighting:
  """Draws light inside: a window to the side, and lamps.

  Args:
    rng: source of the draws.
    reach: metres from the camera to the subject.
    floor: albedo of the floor, [3].
  """
  by_day = rng.random() < 0.7
  direction = key_direction(rng, np.radians(rng.uniform(22, 60)))
  warm = rng.uniform(0.0, 0.25) if by_day else rng.uniform(0.35, 0.7)
  white = np.array([1.0, 1 - 0.25 * warm, 1 - 0.6 * warm])
  key = rng.uniform(0.8, 2.2) * white
  above = rng.uniform(0.3, 0.7) * (
    np.array([0.94, 0.98, 1.06]) if by_day else white
  )
  below = 0.5 * floor * (key + above) + 0.5 * above
  lamps = []
  for _ in range(int(rng.integers(0, 3)) + (not by_day)):
    glow = np.array([1.0, rng.uniform(0.7, 0.85), rng.uniform(0.4, 0.6)])
    place = np.array(
      [
        rng.uniform(-1.2, 1.2) * reach,
        -rng.uniform(0.5, 1.2) * max(reach, 0.4),
        rng.uniform(0.3, 1.7) * reach,
      ]
    )
    lamps.append(
      lights.Lamp(place, glow * rng.uniform(0.2, 0.7) * reach * reach)
    )
  return lights.Lighting(
    direction,
    key,
    rng.uniform(0.05, 0.18) * reach,
    above,
    below,
    tuple(lamps),
  )
