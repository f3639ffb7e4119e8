"""Known motions of things cut out of a photograph, in space.

A motion takes a point's place in the first frame to its place at any time;
at time 0 nothing has moved. Coordinates are those of the first camera: x
right, y down, z away; metres.
"""

import dataclasses
from typing import Protocol

import numpy as np
from jaxtyping import Float
from scipy.spatial import transform

from data_pipelines.procedural import randomness


class Motion(Protocol):
  """What moves a thing."""

  words: str

  def at(
    self, points: Float[np.ndarray, "N 3"], share: float
  ) -> Float[np.ndarray, "N 3"]:
    """Places of points after a share (0 to 1) of the clip."""


@dataclasses.dataclass(frozen=True)
class Rigid:
  """Turns about a point and moves away.

  Attributes:
    words: says so.
    centre: of the turn.
    turn: rotation vector of the whole clip, radians.
    way: of the whole clip.
    swings: times that it goes there and back; 0 goes there only.
  """

  words: str
  centre: Float[np.ndarray, "3"]
  turn: Float[np.ndarray, "3"]
  way: Float[np.ndarray, "3"]
  swings: int = 0

  def at(
    self, points: Float[np.ndarray, "N 3"], share: float
  ) -> Float[np.ndarray, "N 3"]:
    """See `Motion`."""
    progress = share if not self.swings else _swing(share, self.swings)
    turn = transform.Rotation.from_rotvec(self.turn * progress).as_matrix()
    turned = rotated(turn, points - self.centre)
    return turned + self.centre + self.way * progress


@dataclasses.dataclass(frozen=True)
class Articulated:
  """What lies above a hinge bends to and fro; below it nothing moves.

  Attributes:
    words: says so.
    hinge: a point of the axis.
    axis: of length 1.
    angle: largest, radians.
    zone: height above the hinge over which the bend takes place.
    swings: a clip.
  """

  words: str
  hinge: Float[np.ndarray, "3"]
  axis: Float[np.ndarray, "3"]
  angle: float
  zone: float
  swings: int

  def at(
    self, points: Float[np.ndarray, "N 3"], share: float
  ) -> Float[np.ndarray, "N 3"]:
    """See `Motion`."""
    above = np.clip((self.hinge[1] - points[:, 1]) / self.zone, 0, 1)
    bend = above * above * (3 - 2 * above) * self.angle
    angles = bend * _swing(share, self.swings)
    turns = transform.Rotation.from_rotvec(angles[:, None] * self.axis)
    return rotated(turns.as_matrix(), points - self.hinge) + self.hinge


@dataclasses.dataclass(frozen=True)
class Wave:
  """Sways like a plant or a flag: more, and later, farther from its foot.

  Attributes:
    words: says so.
    foot: y of what stands still.
    height: from the foot to the top.
    way: of the top.
    waves: between foot and top.
    swings: a clip.
  """

  words: str
  foot: float
  height: float
  way: Float[np.ndarray, "3"]
  waves: float
  swings: int

  def at(
    self, points: Float[np.ndarray, "N 3"], share: float
  ) -> Float[np.ndarray, "N 3"]:
    """See `Motion`."""
    up = np.clip((self.foot - points[:, 1]) / self.height, 0, None)
    phase = 2 * np.pi * self.waves * up
    moved = np.sin(2 * np.pi * self.swings * share - phase) + np.sin(phase)
    return points + (up * moved)[:, None] * self.way


@dataclasses.dataclass(frozen=True)
class Growth:
  """Grows or shrinks about its foot.

  Attributes:
    words: says so.
    foot: a point that stays.
    factor: of the size at the end.
  """

  words: str
  foot: Float[np.ndarray, "3"]
  factor: float

  def at(
    self, points: Float[np.ndarray, "N 3"], share: float
  ) -> Float[np.ndarray, "N 3"]:
    """See `Motion`."""
    return self.foot + (points - self.foot) * self.factor**share


def rotated(
  matrices: Float[np.ndarray, "*n 3 3"], points: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, "N 3"]:
  """Points turned by one matrix, or each by its own.

  Sums are written out: those of matrix libraries round differently from one
  machine to the next, and equal seeds shall give equal bytes.
  """
  x, y, z = points.T
  rows = [
    matrices[..., i, 0] * x + matrices[..., i, 1] * y + matrices[..., i, 2] * z
    for i in range(3)
  ]
  return np.stack(rows, axis=-1)


def _swing(share: float, swings: int) -> float:
  return float(np.sin(2 * np.pi * swings * share))


def choose(
  rng: np.random.Generator, points: Float[np.ndarray, "N 3"], side: str
) -> Motion:
  """A motion that suits a thing's size and place.

  Args:
    rng: chooses.
    points: of the thing in the first frame.
    side: where it is in the picture, for the words.
  """
  low, high = np.quantile(points, [0.02, 0.98], axis=0)
  size = np.maximum(high - low, 1e-6)
  foot = np.array([np.median(points[:, 0]), high[1], np.median(points[:, 2])])
  subject = f"{randomness.pick(rng, _NOUNS)} {side}"
  kind = randomness.pick(rng, (_rigid, _articulated, _wave, _growth))
  return kind(rng, subject, (low, size, foot))


_NOUNS = ("what stands in front", "the nearer part", "the thing")


def _rigid(rng, subject, extent):
  low, size, _ = extent
  direction = randomness.sign(rng)
  way = np.array([direction, rng.uniform(-0.3, 0.1), rng.uniform(-0.3, 0.3)])
  way *= size[:2].mean() * rng.uniform(0.15, 0.6)
  turn = rng.uniform(-0.25, 0.25, 3) * [0.4, 1, 1]
  swings = int(rng.integers(3))
  side = "right" if direction > 0 else "left"
  verb = f"moves to the {side}"
  if swings:
    verb = randomness.pick(rng, ("rocks to and fro", "swings back and forth"))
    way *= 0.5
  return Rigid(f"{subject} {verb}", low + size / 2, turn, way, swings)


def _articulated(rng, subject, extent):
  low, size, foot = extent
  hinge = foot.copy()
  hinge[1] = low[1] + size[1] * rng.uniform(0.4, 0.8)
  axis = np.array([rng.normal(0, 0.3), rng.normal(0, 0.3), 1.0])
  axis /= np.linalg.norm(axis)
  verb = randomness.pick(rng, ("bends to and fro", "nods from side to side"))
  return Articulated(
    f"{subject} {verb}",
    hinge,
    axis,
    rng.uniform(0.12, 0.4) * randomness.sign(rng),
    size[1] * rng.uniform(0.15, 0.4),
    int(rng.integers(1, 3)),
  )


def _wave(rng, subject, extent):
  _, size, foot = extent
  way = np.array([1.0, 0.0, rng.uniform(-0.4, 0.4)])
  way *= size[1] * rng.uniform(0.05, 0.15) * randomness.sign(rng)
  verb = randomness.pick(rng, ("sways as in wind", "waves like a flag"))
  return Wave(
    f"{subject} {verb}",
    foot[1],
    size[1],
    way,
    rng.uniform(0.1, 0.7),
    int(rng.integers(1, 3)),
  )


def _growth(rng, subject, extent):
  _, _, foot = extent
  grows = rng.random() < 0.6
  factor = rng.uniform(1.15, 1.5) if grows else rng.uniform(0.65, 0.88)
  return Growth(f"{subject} {'grows' if grows else 'shrinks'}", foot, factor)
