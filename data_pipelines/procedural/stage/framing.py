"""Shots as photographers take them: any angle, roll, width and place."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import rotations
from data_pipelines.procedural.stage import shots

_TRIES = 80
_SHARES = (0.36, 0.42, 0.22)  # Of level, down and up.


@dataclasses.dataclass(frozen=True)
class Style:
  """How a layout is photographed.

  Attributes:
    heights: of the camera above the ground, from and to, metres.
    distances: of the subject, from and to, metres.
    steepest: greatest angle downwards, degrees.
  """

  heights: tuple[float, float]
  distances: tuple[float, float]
  steepest: float = 32.0


@dataclasses.dataclass(frozen=True)
class Framing(shots.Shot):
  """A shot whose picture may be upright."""

  def metres(self, share: float) -> float:
    """Returns the length at the subject that fills a share of the width."""
    width = min(self.width, self.height * 4 / 3)
    return share * width * self.depth / self.intrinsics[0]

  def around(self, subject, radius: float) -> "Framing":
    """Returns the shot with another subject, for another actor.

    Args:
      subject: its middle on the stage, [3] metres.
      radius: of a ball of its size, metres.
    """
    depth = (subject - self.stage_from_camera[:3, 3]) @ (
      self.stage_from_camera[:3, 2]
    )
    return dataclasses.replace(
      self, subject=subject, radius=radius, depth=float(depth)
    )


def field_of_view(rng: np.random.Generator) -> float:
  """Draws the angle along the longer side: 25 to 100 degrees, in radians."""
  middle = rng.uniform(38, 75) if rng.random() < 0.7 else rng.uniform(25, 100)
  return float(np.radians(middle))


def _rotation(rng, style):
  """Draws the camera's turn: level, down or up, sometimes rolled."""
  angle = randomness.pick(rng, ("level", "down", "up"), _SHARES)
  low, high = {
    "level": (-4.0, 5.0),
    "down": (6.0, style.steepest),
    "up": (-22.0, -3.0),
  }[angle]
  pitch = np.radians(rng.uniform(low, high))
  roll = np.radians(rng.normal(0, 0.7))
  if rng.random() < 0.2:
    roll = np.radians(randomness.sign(rng) * rng.uniform(4, 16))
  return rotations.about_x(-pitch) @ rotations.about_z(roll)


def make(
  rng: np.random.Generator,
  size: tuple[int, int],
  style: Style,
  radius: float,
  area: tuple[float, float],
  rise: float,
) -> Framing:
  """Draws the camera so that a subject of a size covers a share of it.

  Args:
    rng: source of the draws.
    size: (height, width) of the picture in pixels.
    style: of the layout.
    radius: of a ball with the subject's area, metres.
    area: lowest and highest share of the picture that it covers.
    rise: height of the subject's middle above the ground in radii.
  """
  height, width = size
  for _ in range(_TRIES):
    focal = max(size) / (2 * np.tan(field_of_view(rng) / 2))
    pixels = np.sqrt(rng.uniform(*area) * height * width / np.pi)
    depth = float(np.clip(radius * focal / pixels, *style.distances))
    rotation = _rotation(rng, style)
    across = rng.uniform(-0.34, 0.34) * width / focal
    down = rng.uniform(-0.18, 0.22) * height / focal
    towards = rotation @ (np.array([across, down, 1.0]) * depth)
    eye = -rise * radius - towards[1]
    if -style.heights[1] <= eye <= -style.heights[0]:
      break
  eye = float(np.clip(eye, -style.heights[1], -style.heights[0]))
  pose = np.eye(4)
  pose[:3, :3], pose[1, 3] = rotation, eye
  subject = np.array([towards[0], -rise * radius, max(towards[2], 0.5 * depth)])
  intrinsics = np.array([focal, focal, width / 2, height / 2])
  framing = Framing(intrinsics, height, width, pose, subject, depth, radius)
  return framing.around(subject, radius)
