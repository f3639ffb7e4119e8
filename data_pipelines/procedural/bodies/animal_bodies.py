"""Bodies on four legs: proportions of species and the parts they move."""

import dataclasses

import numpy as np

from data_pipelines.procedural.bodies import (
  articulation,
  gaits,
  primitives,
  rotations,
  textures,
)


@dataclasses.dataclass(frozen=True)
class Species:
  """An animal on four legs; lengths are shares of the trunk's length.

  Attributes:
    colours: of its coat.
    girth: radius of the trunk.
    legs: thigh, shin, and the leg's radius.
    neck: length, radius, and angle above the horizontal in radians.
    head: length and radius.
    tail: length, radius, and angle below the horizontal in radians.
    ears: half height, half width.
    scale: of the trunk's length to a ball of equal picture area.
    trunk: length of an elephant's trunk.
  """

  colours: tuple[str, ...]
  girth: float
  legs: tuple[float, float, float]
  neck: tuple[float, float, float]
  head: tuple[float, float]
  tail: tuple[float, float, float]
  ears: tuple[float, float]
  scale: float
  trunk: float = 0.0


SPECIES = {
  "dog": Species(
    ("brown", "white", "black", "orange"),
    0.2,
    (0.3, 0.27, 0.06),
    (0.24, 0.12, 0.8),
    (0.3, 0.12),
    (0.42, 0.04, -0.7),
    (0.1, 0.05),
    2.0,
  ),
  "cat": Species(
    ("orange", "grey", "black", "white"),
    0.19,
    (0.23, 0.22, 0.05),
    (0.14, 0.1, 0.8),
    (0.16, 0.15),
    (0.65, 0.035, -1.1),
    (0.09, 0.06),
    2.1,
  ),
  "horse": Species(
    ("brown", "white", "black", "grey"),
    0.22,
    (0.4, 0.4, 0.06),
    (0.5, 0.11, 0.95),
    (0.36, 0.1),
    (0.5, 0.06, 1.1),
    (0.09, 0.04),
    1.75,
  ),
  "giraffe": Species(
    ("yellow", "orange"),
    0.23,
    (0.52, 0.5, 0.06),
    (1.15, 0.09, 1.15),
    (0.3, 0.09),
    (0.45, 0.03, 1.2),
    (0.09, 0.04),
    1.35,
  ),
  "elephant": Species(
    ("grey",),
    0.34,
    (0.32, 0.3, 0.12),
    (0.12, 0.2, 0.4),
    (0.3, 0.2),
    (0.4, 0.03, 1.25),
    (0.24, 0.2),
    1.75,
    0.62,
  ),
  "sheep": Species(
    ("white", "grey", "brown"),
    0.3,
    (0.22, 0.22, 0.055),
    (0.14, 0.12, 0.7),
    (0.28, 0.11),
    (0.16, 0.06, 0.9),
    (0.05, 0.09),
    1.9,
  ),
}


@dataclasses.dataclass(frozen=True)
class Posture:
  """Angles of an animal's joints, [T] or [2 T].

  Attributes:
    thigh, knee: of both diagonal pairs of legs, radians.
    forward: way of the hips, metres.
    neck: added to the neck's angle, radians.
    tail: to the sides, radians.
  """

  thigh: np.ndarray
  knee: np.ndarray
  forward: np.ndarray
  neck: np.ndarray
  tail: np.ndarray


def legs_of(species: Species, length: float) -> gaits.Legs:
  """Returns the legs; length is the trunk's in metres."""
  thigh, shin, radius = (share * length for share in species.legs)
  return gaits.Legs(thigh, shin, 0.8 * radius)


@dataclasses.dataclass(frozen=True)
class Coat:
  """Surfaces of an animal: most of it, and muzzle, mane, hooves."""

  main: textures.Material
  dark: textures.Material


def body(
  ground: articulation.Frame,
  posture: Posture,
  species: Species,
  length: float,
  coat: Coat,
) -> list[primitives.Primitive]:
  """Returns the parts of an animal.

  Args:
    ground: the point of the ground below it at the start; x is forward.
    posture: joints.
    species: proportions.
    length: of the trunk in metres.
    coat: surfaces.
  """
  legs = legs_of(species, length)
  _, below = legs.ankle(posture.thigh, posture.knee)
  up = below.max(axis=0) + legs.sole
  shift = np.stack([posture.forward, -up, np.zeros_like(up)], axis=-1)
  hips = articulation.moving(ground, shift)
  girth = species.girth * length
  back = hips.turned(
    (-0.5 * length, -0.6 * girth, 0), rotations.about_z(-0.5 * np.pi)
  )
  items = [back.bone(girth, length, coat.main)]
  for ahead in (-0.5, 0.5):
    for across in (-1.0, 1.0):
      pair = 0 if ahead * across > 0 else 1
      joint = (ahead * length, 0, 0.55 * girth * across)
      items += _leg(
        hips, joint, posture, pair, (legs, species.legs[2] * length, coat)
      )
  items += _front(hips, posture, species, length, coat)
  long, thick, droop = species.tail
  tail = hips.turned(
    (-0.5 * length - 0.9 * girth, -0.9 * girth, 0),
    rotations.about_y(posture.tail),
  )
  tail = tail.turned((0, 0, 0), rotations.about_z(0.5 * np.pi - droop))
  items.append(tail.bone(thick * length, long * length, coat.dark))
  return items


def _leg(hips, joint, posture, pair, build):
  """Returns thigh and shin."""
  legs, radius, coat = build
  thigh = hips.turned(joint, articulation.forward_swing(posture.thigh[pair]))
  shin = thigh.turned(
    (0, legs.thigh, 0), articulation.forward_swing(-posture.knee[pair])
  )
  return [
    thigh.bone(1.15 * radius, legs.thigh, coat.main),
    shin.bone(0.8 * radius, legs.shin, coat.main),
  ]


def _front(hips, posture, species, length, coat):
  """Returns neck, head, muzzle, ears and an elephant's trunk."""
  girth = species.girth * length
  long, thick, angle = species.neck
  up = 0.5 * np.pi + angle + posture.neck
  neck = hips.turned(
    (0.5 * length + 0.3 * girth, -0.8 * girth, 0),
    articulation.forward_swing(up),
  )
  # The head keeps its direction while the neck moves, a little below level.
  head = neck.turned(
    (0, long * length, 0),
    articulation.forward_swing(-angle - 0.25 - 0.6 * posture.neck),
  )
  head_long, head_thick = (share * length for share in species.head)
  items = [
    neck.bone(thick * length, long * length, coat.main),
    head.bone(head_thick, head_long, coat.main),
    head.part(
      "ellipsoid",
      np.full(3, 0.72 * head_thick),
      (0, head_long + 0.45 * head_thick, 0),
      coat.dark,
    ),
  ]
  tall, wide = (share * length for share in species.ears)
  ears = coat.main if species.trunk else coat.dark
  for across in (-1.0, 1.0):
    place = (
      0.7 * head_thick + 0.3 * tall,
      -0.1 * head_thick,
      0.8 * across * head_thick,
    )
    size = (tall, 0.35 * wide, wide)
    items.append(head.part("ellipsoid", size, place, ears))
  if species.trunk:
    part = 0.5 * species.trunk * length
    joint = head.turned(
      (0, head_long + 0.6 * head_thick, 0),
      articulation.forward_swing(-0.9 + 0.4 * posture.neck),
    )
    items.append(joint.bone(0.45 * head_thick, part, coat.main))
    joint = joint.turned(
      (0, part, 0), articulation.forward_swing(0.25 + 0.6 * posture.neck)
    )
    items.append(joint.bone(0.34 * head_thick, part, coat.main))
  return items
