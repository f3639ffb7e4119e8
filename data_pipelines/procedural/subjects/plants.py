"""Plants that sway in the wind: potted plants, flowers, trees and reeds.

A stem is a chain of rigid pieces; leaves, petals and crowns are rigid parts of
a piece. The wind bends every joint a little, later the higher it is.
"""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import (
  articulation,
  primitives,
  rotations,
  textures,
)
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording

_WIND = {"gently": (0.7, 0.10), "strongly": (1.3, 0.24)}


@dataclasses.dataclass(frozen=True)
class Wind:
  """Bends stems.

  Attributes:
    heading: where it blows, radians from x towards z.
    lean: of a joint at the start, radians.
    bend: how far a joint swings from there, radians.
    cycles: periods during the clip.
    lag: radians between a joint and the next one.
  """

  heading: float
  lean: float
  bend: float
  cycles: float
  lag: float

  def angles(self, joints: int, num_frames: int) -> np.ndarray:
    """Returns every joint's angle in every frame, [joints T]."""
    turn = 2 * np.pi * self.cycles * articulation.times(num_frames)
    later = self.lag * np.arange(joints)[:, None]
    swing = np.sin(turn - later) + np.sin(later)
    return self.lean + self.bend * swing


def _wind(draws: drafts.Draws) -> tuple[Wind, str]:
  """Draws a wind and its word, which the first picture does not tell."""
  look, hidden = draws.look, draws.hidden
  force = randomness.pick(draws.words, tuple(_WIND))
  cycles, bend = _WIND[force]
  cycles = cycles * hidden.uniform(0.85, 1.15) * randomness.sign(hidden)
  heading = look.uniform(-0.6, 0.6) + (np.pi if look.random() < 0.5 else 0)
  lean, lag = look.uniform(-0.06, 0.06), look.uniform(0.2, 0.5)
  return Wind(heading, lean, bend, cycles, lag), force


def stem(
  root: articulation.Frame, lengths, angles, heading: float
) -> list[articulation.Frame]:
  """Returns the frames of a stem's pieces; y points down along each.

  Args:
    root: y down, at the foot.
    lengths: of the pieces in metres.
    angles: of every joint, [joints T] radians, leaning towards the heading.
    heading: radians from x towards z.
  """
  axis = np.array([-np.sin(heading), 0.0, np.cos(heading)])
  frames, joint = [], np.zeros(3)
  frame = root
  for length, angle in zip(lengths, angles, strict=True):
    frame = frame.turned(joint, rotations.about_axis(axis, angle))
    frames.append(frame)
    joint = np.array([0.0, -length, 0.0])
  return frames


def _piece(frame, length, radius, material):
  return frame.part(
    "capsule", (radius, 0.5 * length), (0, -0.5 * length, 0), material
  )


def _leaf(frame, place, yaw, size, material):
  """Returns a flat ellipsoid that grows out of a piece, slanting up."""
  turn = rotations.about_y(yaw) @ rotations.about_z(-0.5)
  leaf = frame.turned(place, turn)
  long, wide = size
  return leaf.part(
    "ellipsoid", (long, 0.12 * wide, wide), (0.9 * long, 0, 0), material
  )


@dataclasses.dataclass(frozen=True)
class _Growth:
  """What a plant is made with."""

  look: np.random.Generator
  root: articulation.Frame
  wind: Wind
  unit: float
  num_frames: int
  green: textures.Material
  bark: textures.Material

  def grow(self, foot, lengths, scale=1.0) -> list[articulation.Frame]:
    """Returns the pieces of a stem at a foot, bent by the wind."""
    angles = scale * self.wind.angles(len(lengths), self.num_frames)
    root = self.root.turned(foot, np.eye(3))
    return stem(root, lengths, angles, self.wind.heading)


def _pot(growth, colour):
  """Returns a still pot and the height of its rim."""
  tall, wide = 0.36 * growth.unit, 0.42 * growth.unit
  clay = appearance.object_material(growth.look, colour, "plain", wide)
  pot = growth.root.part("cylinder", (wide, tall), (0, -tall, 0), clay, 0)
  rim = growth.root.part(
    "cylinder", (1.12 * wide, 0.07 * growth.unit), (0, -2 * tall, 0), clay, 0
  )
  return [pot, rim], 2 * tall


def _potted(growth: _Growth, words) -> tuple[list[primitives.Primitive], str]:
  colour = randomness.pick(growth.look, ("orange", "white", "blue", "brown"))
  items, rim = _pot(growth, colour)
  for number in range(3):
    side = (number - 1) * 0.16 * growth.unit
    length = growth.unit * growth.look.uniform(0.5, 0.72)
    pieces = growth.grow((side, -rim, 0), (length,) * 3, 1 + 0.2 * number)
    for order, piece in enumerate(pieces):
      items.append(_piece(piece, length, 0.05 * growth.unit, growth.green))
      yaw = growth.look.uniform(0, 2 * np.pi)
      size = (0.34 * growth.unit, 0.15 * growth.unit)
      place = (0, -(0.6 if order < 2 else 0.95) * length, 0)
      items.append(_leaf(piece, place, yaw, size, growth.green))
      items.append(_leaf(piece, place, yaw + 2.6, size, growth.green))
  return items, randomness.pick(
    words, (f"a plant in {wording.with_article(colour)} pot", "a potted plant")
  )


def _flower(growth: _Growth, words) -> tuple[list[primitives.Primitive], str]:
  colour = randomness.pick(
    growth.look, ("red", "pink", "purple", "yellow", "white", "blue")
  )
  petal = appearance.object_material(growth.look, colour, "plain", growth.unit)
  middle = appearance.object_material(
    growth.look, "orange", "plain", growth.unit
  )
  length = 0.85 * growth.unit
  pieces = growth.grow((0, 0, 0), (length,) * 4)
  items = [
    _piece(piece, length, 0.07 * growth.unit, growth.green) for piece in pieces
  ]
  for order, yaw in ((0, 0.4), (1, 3.6), (2, 0.2)):
    size = (0.5 * growth.unit, 0.2 * growth.unit)
    place = (0, -0.7 * length, 0)
    items.append(_leaf(pieces[order], place, yaw, size, growth.green))
  head = pieces[-1].turned((0, -length, 0), rotations.about_x(0.9))
  size = np.array([0.26, 0.14, 0.26]) * growth.unit
  items.append(head.part("ellipsoid", size, (0, 0, 0), middle))
  count = int(growth.look.integers(5, 8))
  for number in range(count):
    leaf = head.turned((0, 0, 0), rotations.about_y(2 * np.pi * number / count))
    size = np.array([0.3, 0.06, 0.19]) * growth.unit
    items.append(leaf.part("ellipsoid", size, (0.5 * growth.unit, 0, 0), petal))
  return items, wording.with_article(f"{colour} flower")


def _tree(growth: _Growth, words) -> tuple[list[primitives.Primitive], str]:
  lengths = np.array([1.1, 0.8, 0.6]) * growth.unit
  pieces = growth.grow((0, 0, 0), lengths, 0.7)
  items = [
    _piece(piece, length, share * growth.unit, growth.bark)
    for piece, length, share in zip(pieces, lengths, (0.2, 0.16, 0.12))
  ]
  for number in range(7):
    yaw = 2 * np.pi * number / 6
    out = 0.0 if number == 6 else 0.62 * growth.unit
    up = -0.75 * growth.unit if number == 6 else -0.1 * growth.unit
    up += growth.look.uniform(-0.2, 0.2) * growth.unit
    size = growth.unit * growth.look.uniform(0.48, 0.66, 3)
    place = (out * np.cos(yaw), -lengths[2] + up, out * np.sin(yaw))
    items.append(pieces[-1].part("ellipsoid", size, place, growth.green))
  noun = randomness.pick(words, ("a tree", "a small tree", "a green tree"))
  return items, noun


def _reeds(growth: _Growth, words) -> tuple[list[primitives.Primitive], str]:
  items = []
  for number in range(6):
    foot = growth.unit * np.array(
      [
        0.3 * (number - 2.5) + growth.look.uniform(-0.1, 0.1),
        0.0,
        growth.look.uniform(-0.4, 0.4),
      ]
    )
    length = growth.unit * growth.look.uniform(0.75, 1.05)
    scale = growth.look.uniform(0.8, 1.3)
    pieces = growth.grow(foot, (length,) * 3, scale)
    for order, piece in enumerate(pieces):
      thin = (0.075 - 0.018 * order) * growth.unit
      items.append(_piece(piece, length, thin, growth.green))
  noun = randomness.pick(words, ("reeds", "tall grass", "six blades of grass"))
  return items, noun


_PLANTS = {
  "potted": (_potted, 1.15),
  "flower": (_flower, 1.0),
  "tree": (_tree, 1.0),
  "reeds": (_reeds, 1.25),
}


def swaying(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A plant sways in the wind."""
  look = draws.look
  build, scale = _PLANTS[randomness.pick(look, tuple(_PLANTS))]
  wind, force = _wind(draws)
  unit = scale * shot.radius
  green = appearance.object_material(look, "green", "plain", unit)
  bark = appearance.object_material(look, "brown", "striped", unit)
  root = articulation.standing(shot.subject * [1, 0, 1], 0.0, num_frames)
  growth = _Growth(look, root, wind, unit, num_frames, green, bark)
  items, subject = build(growth, draws.words)
  plural = subject in ("reeds", "six blades of grass")
  verb = randomness.pick(draws.words, ("sway", "bend", "move"))
  verb += "" if plural else "s"
  sentence = randomness.pick(
    draws.words,
    (
      f"{subject} {verb} {force} in the wind",
      f"{subject} {force} {verb} in the wind",
      f"the wind {force} {'moves' if verb[0] == 'm' else 'bends'} {subject}",
    ),
  )
  return drafts.Draft(tuple(items), sentence, (2.2 * unit, 1.8 * unit))
