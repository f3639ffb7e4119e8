"""Version 2 of the surroundings: more grounds, walls and kinds of light."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import primitives, textures
from data_pipelines.procedural.rendering import ray_casting, shading
from data_pipelines.procedural.stage import appearance

# Ground: two albedos, pattern, repeats per metre along x, y, z.
_GROUNDS = {
  "grass": ((0.20, 0.42, 0.14), (0.30, 0.52, 0.18), "noise", (2.2, 0, 2.6)),
  "sand": ((0.80, 0.70, 0.50), (0.86, 0.78, 0.60), "noise", (1.4, 0, 3.0)),
  "planks": ((0.50, 0.34, 0.20), (0.40, 0.26, 0.15), "paved", (0.5, 0, 3)),
  "paving": ((0.62, 0.61, 0.58), (0.45, 0.44, 0.43), "paved", (1.4, 0, 1.4)),
  "asphalt": ((0.33, 0.33, 0.35), (0.38, 0.38, 0.39), "noise", (3.1, 0, 3.3)),
  "marble": ((0.82, 0.80, 0.78), (0.62, 0.60, 0.60), "marbled", (0.5, 0, 0.5)),
}


@dataclasses.dataclass(frozen=True)
class Setting:
  """A kind of light.

  Attributes:
    sky, sun: strength for red, green and blue.
    heights: of the sun in radians, lowest and highest.
    glow: share of its colour that the sky shows.
    words: what a caption may say about it; none for ordinary light.
  """

  sky: tuple[float, float, float]
  sun: tuple[float, float, float]
  heights: tuple[float, float]
  glow: float
  words: str = ""


SETTINGS = {
  "day": Setting((0.52, 0.52, 0.52), (0.60, 0.60, 0.60), (0.75, 1.2), 1.0),
  "noon": Setting((0.46, 0.47, 0.50), (0.74, 0.73, 0.70), (1.1, 1.4), 1.0),
  "cloudy": Setting((0.80, 0.82, 0.85), (0.10, 0.10, 0.10), (0.9, 1.3), 0.9),
  "evening": Setting(
    (0.40, 0.36, 0.40),
    (0.85, 0.58, 0.30),
    (0.35, 0.6),
    0.8,
    "in warm evening light",
  ),
  "night": Setting(
    (0.20, 0.22, 0.31),
    (0.26, 0.30, 0.44),
    (0.7, 1.2),
    0.18,
    "in dim bluish light",
  ),
}
_SHARES = (0.42, 0.2, 0.15, 0.15, 0.08)
_TELL = 0.5  # Share of captions that mention light that is not ordinary.


@dataclasses.dataclass(frozen=True)
class Surroundings:
  """Room, sun, light, and a phrase for the caption that is often empty."""

  room: primitives.Primitive
  sun: ray_casting.Sun
  light: shading.Light
  phrase: str


def _ground(rng) -> textures.Material:
  """Draws a natural ground, or a patterned one of version 1."""
  name = randomness.pick(rng, (*_GROUNDS, "", ""))
  if not name:
    return appearance.make_ground(rng)
  first, second, pattern, repeats = _GROUNDS[name]
  tint = rng.uniform(0.88, 1.12) * (1 + rng.uniform(-0.05, 0.05, 3))
  colours = np.clip(np.array([first, second]) * tint, 0.02, 1)
  frequency = np.array(repeats) * rng.uniform(0.8, 1.25)
  phase = rng.uniform(0, 2 * np.pi, 3)
  return textures.Material(pattern, colours, frequency, phase, 2.0)


def _brick_wall(rng) -> textures.Material:
  brick = np.array([0.58, 0.30, 0.22]) * rng.uniform(0.8, 1.2)
  mortar = np.array([0.74, 0.72, 0.68])
  frequency = np.array([1.0, 2.6, 1.0]) * rng.uniform(0.9, 1.3)
  return textures.Material(
    "bricked",
    np.clip(np.stack([brick, mortar]), 0, 1),
    frequency,
    rng.uniform(0, 2 * np.pi, 3),
    2.0,
  )


def make(
  rng: np.random.Generator, reach: float, num_frames: int
) -> Surroundings:
  """Draws the surroundings of a scene.

  Args:
    rng: source of the draws.
    reach: metres from the camera to the subject.
    num_frames: number of poses.
  """
  room = appearance.make_room(rng, reach, num_frames)
  name = randomness.pick(rng, tuple(SETTINGS), _SHARES)
  setting = SETTINGS[name]
  ground, wall = _ground(rng), room.materials[1]
  if wall.glow:
    wall = dataclasses.replace(wall, glow=setting.glow)
  elif rng.random() < 0.25:
    wall = _brick_wall(rng)
  azimuth, height = rng.uniform(-1.9, 1.9), rng.uniform(*setting.heights)
  flat = np.cos(height)
  sun = ray_casting.Sun(
    np.array([flat * np.sin(azimuth), -np.sin(height), -flat * np.cos(azimuth)])
  )
  light = shading.Light(
    *(np.float32(part)[:, None] for part in (setting.sky, setting.sun))
  )
  told = bool(setting.words) and rng.random() < _TELL
  return Surroundings(
    dataclasses.replace(room, materials=(ground, wall)),
    sun,
    light,
    f" {setting.words}" if told else "",
  )
