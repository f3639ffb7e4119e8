"""Random colours, patterns, rooms and light."""

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import primitives, textures
from data_pipelines.procedural.rendering import ray_casting

# Words for patterns; a plain surface needs none.
PATTERN_WORDS = {
  "plain": "",
  "striped": "striped ",
  "checkered": "checkered ",
  "spotted": "spotted ",
  "wavy": "wavy ",
  "ringed": "ringed ",
  "marbled": "marbled ",
}


def muted_colour(rng: np.random.Generator) -> np.ndarray:
  """Returns a greyish colour [3] for rooms and clutter."""
  grey = rng.uniform(0.35, 0.76)
  return np.clip(grey + rng.uniform(-0.12, 0.12, 3), 0, 1)


def skin_colour(rng: np.random.Generator) -> np.ndarray:
  """Returns an albedo [3] between pale and dark skin."""
  pale, dark = np.array([0.95, 0.78, 0.66]), np.array([0.36, 0.23, 0.16])
  share = rng.uniform()
  return pale * (1 - share) + dark * share


def object_material(
  rng: np.random.Generator, colour: str, pattern: str, size: float
) -> textures.Material:
  """Returns a surface of a named colour and pattern.

  Args:
    rng: source of the second colour, the phase and small variations.
    colour: a name of `textures.COLOURS`.
    pattern: a pattern of `textures.MORE_PATTERNS`.
    size: half the object's extent in metres; sets how fine the pattern is.
  """
  base = np.array(textures.COLOURS[colour]) + rng.uniform(-0.05, 0.05, 3)
  dark = np.array([0.1, 0.1, 0.12]) + rng.uniform(0, 0.08, 3)
  light = np.array([0.95, 0.95, 0.92])
  second = dark if base.mean() > 0.45 else light
  repeats = rng.uniform(0.5, 0.9) / size
  frequency = np.full(3, repeats)
  if pattern == "striped":
    frequency = np.zeros(3)
    frequency[int(rng.integers(3))] = repeats * 1.5
    frequency += rng.uniform(0.0, 0.3, 3) * repeats
  elif pattern == "spotted":
    frequency = np.full(3, repeats * 1.3)
  colours = np.clip(np.stack([base, second]), 0.02, 1)
  phase = rng.uniform(0, 2 * np.pi, 3)
  return textures.Material(pattern, colours, frequency, phase)


def clutter_material(
  rng: np.random.Generator, size: float
) -> textures.Material:
  """Returns the surface of a still object: a muted colour, any pattern."""
  first = muted_colour(rng)
  second = np.clip(first * rng.uniform(0.55, 0.8), 0, 1)
  pattern = randomness.pick(rng, textures.PATTERNS)
  frequency = np.full(3, rng.uniform(0.4, 0.9) / size)
  phase = rng.uniform(0, 2 * np.pi, 3)
  return textures.Material(pattern, np.stack([first, second]), frequency, phase)


def make_ground(rng: np.random.Generator) -> textures.Material:
  """Returns a patterned ground of muted colours."""
  first = muted_colour(rng)
  second = np.clip(first * rng.uniform(0.7, 0.9), 0, 1)
  pattern = randomness.pick(rng, ("checkered", "striped", "noise", "spotted"))
  scale = rng.uniform(0.4, 1.1)
  frequency = np.array([scale, 0.0, scale])
  if pattern == "striped":
    angle = rng.uniform(0, np.pi)
    frequency = scale * np.array([np.cos(angle), 0, np.sin(angle)])
  phase = rng.uniform(0, 2 * np.pi, 3)
  colours = np.stack([first, second])
  return textures.Material(pattern, colours, frequency, phase, 3.0)


def _wall(rng, outdoors):
  first = muted_colour(rng)
  second = np.clip(first * rng.uniform(0.78, 0.95), 0, 1)
  phase = rng.uniform(0, 2 * np.pi, 3)
  if outdoors:
    blue = np.array([0.55, 0.72, 0.92]) + rng.uniform(-0.06, 0.06, 3)
    haze = np.clip(blue + rng.uniform(0.1, 0.25), 0, 1)
    frequency = np.array([0.05, 0.12, 0.05]) * rng.uniform(0.6, 1.4)
    colours = np.stack([blue, haze])
    return textures.Material("noise", colours, frequency, phase, 0.6, 1.0)
  pattern = randomness.pick(rng, ("plain", "striped", "noise", "checkered"))
  scale = rng.uniform(0.3, 0.9)
  frequency = scale * np.array([1.0, 0.0, 1.0])
  if pattern == "checkered":
    frequency = scale * np.array([1.0, 1.0, 0.0])
  elif pattern == "noise":
    frequency = scale * np.array([0.6, 0.5, 0.6])
  colours = np.stack([first, second])
  return textures.Material(pattern, colours, frequency, phase, 2.0)


def make_room(
  rng: np.random.Generator, reach: float, num_frames: int
) -> primitives.Primitive:
  """Returns ground, walls and ceiling around the stage.

  Args:
    rng: source of size, turn and surfaces.
    reach: metres from the camera to the subject.
    num_frames: number of poses.
  """
  outdoors = bool(rng.random() < 0.35)
  half = np.array(
    [
      reach * rng.uniform(1.5, 2.2) + 1,
      rng.uniform(1.6, 2.2) + 0.5 * reach,
      reach * rng.uniform(1.3, 1.9) + 1,
    ]
  )
  if outdoors:
    half = np.array([14.0, 8.0, 14.0]) * rng.uniform(0.8, 1.2)
  yaw = rng.uniform(-0.5, 0.5)
  cosine, sine = np.cos(yaw), np.sin(yaw)
  rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
  centre = np.array([rng.uniform(-0.5, 0.5), -half[1], 0.4 * half[2]])
  return primitives.Primitive(
    "room",
    half,
    np.repeat(rotation[None], num_frames, axis=0),
    np.repeat(centre[None], num_frames, axis=0),
    (make_ground(rng), _wall(rng, outdoors)),
  )


def make_sun(rng: np.random.Generator) -> ray_casting.Sun:
  """Returns a light from above, mostly from behind the camera."""
  azimuth = rng.uniform(-1.9, 1.9)
  height = rng.uniform(0.75, 1.2)
  flat = np.cos(height)
  direction = np.array(
    [flat * np.sin(azimuth), -np.sin(height), -flat * np.cos(azimuth)]
  )
  return ray_casting.Sun(direction)
