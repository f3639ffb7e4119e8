"""The body of a person: joints, clothes and the parts they move."""

import dataclasses

import numpy as np

from data_pipelines.procedural.bodies import (
  articulation,
  gaits,
  primitives,
  rotations,
  textures,
)

# Lengths as shares of a person's height.
_LEGS = (0.245, 0.22, 0.035)
_UPPER_ARM, _FOREARM, _SHOULDER = 0.165, 0.15, 0.31


@dataclasses.dataclass(frozen=True)
class Posture:
  """Joint angles of a person in radians, [T] or [2 T] for both sides.

  Attributes:
    thigh: forward.
    knee: the shin's bend back.
    spread: of both legs to their sides.
    arm: the upper arm forward.
    raised: the upper arm to its side.
    elbow: the forearm's bend forward.
    lean: the trunk forward.
    forward: way of the hip, metres.
    lift: of the feet above the ground, metres.
    turn: about the vertical.
  """

  thigh: np.ndarray
  knee: np.ndarray
  spread: np.ndarray
  arm: np.ndarray
  raised: np.ndarray
  elbow: np.ndarray
  lean: np.ndarray
  forward: np.ndarray
  lift: np.ndarray
  turn: np.ndarray

  @classmethod
  def upright(cls, num_frames: int, **changes: np.ndarray) -> "Posture":
    """Returns a person who stands with hanging arms, but for changes."""
    one, two = np.zeros(num_frames), np.zeros((2, num_frames))
    values = {
      "thigh": two,
      "knee": two,
      "spread": one + 0.06,
      "arm": two,
      "raised": two + 0.12,
      "elbow": two + 0.15,
      "lean": one,
      "forward": one,
      "lift": one,
      "turn": one,
    }
    for name, value in changes.items():
      values[name] = np.broadcast_to(value, values[name].shape)
    return cls(**values)


@dataclasses.dataclass(frozen=True)
class Clothes:
  """Surfaces of a person."""

  skin: textures.Material
  hair: textures.Material
  shirt: textures.Material
  trousers: textures.Material
  shoes: textures.Material


def legs_of(height: float) -> gaits.Legs:
  """Returns the legs of a person of a height in metres."""
  return gaits.Legs(*(length * height for length in _LEGS))


def body(
  ground: articulation.Frame, posture: Posture, height: float, clothes: Clothes
) -> list[primitives.Primitive]:
  """Returns the parts of a person.

  Args:
    ground: the point of the ground below the hip at the start; x is forward.
    posture: joint angles.
    height: metres.
    clothes: surfaces.
  """
  legs = legs_of(height)
  _, below = legs.ankle(posture.thigh, posture.knee)
  rise = (below * np.cos(posture.spread)).max(axis=0) + legs.sole
  up = rise + posture.lift
  shift = np.stack([posture.forward, -up, np.zeros_like(up)], axis=-1)
  hip = articulation.moving(ground, shift)
  hip = hip.turned((0, 0, 0), rotations.about_y(-posture.turn))
  trunk = hip.turned((0, 0, 0), articulation.forward_swing(-posture.lean))
  items = [
    trunk.part(
      "ellipsoid",
      np.array([0.075, 0.08, 0.1]) * height,
      (0, -0.02 * height, 0),
      clothes.trousers,
    ),
    trunk.part(
      "ellipsoid",
      np.array([0.085, 0.185, 0.12]) * height,
      (0, -0.19 * height, 0),
      clothes.shirt,
    ),
    trunk.part(
      "ellipsoid",
      np.array([0.072, 0.085, 0.066]) * height,
      (0.012 * height, -0.425 * height, 0),
      clothes.skin,
    ),
    trunk.part(
      "ellipsoid",
      np.array([0.074, 0.07, 0.072]) * height,
      (-0.014 * height, -0.452 * height, 0),
      clothes.hair,
    ),
  ]
  for side, across in enumerate((-1.0, 1.0)):
    items += _leg(hip, posture, (side, across), height, clothes)
    items += _arm(trunk, posture, (side, across), height, clothes)
  return items


def _leg(hip, posture, which, height, clothes):
  """Returns thigh, shin and shoe."""
  side, across = which
  legs = legs_of(height)
  thigh = hip.turned(
    (0, 0, 0.055 * height * across),
    articulation.side_swing(across * posture.spread),
  ).turned((0, 0, 0), articulation.forward_swing(posture.thigh[side]))
  shin = thigh.turned(
    (0, legs.thigh, 0), articulation.forward_swing(-posture.knee[side])
  )
  shoe = (0.03 * height, legs.shin, 0)
  size = np.array([0.07, 0.035, 0.042]) * height
  return [
    thigh.bone(0.055 * height, legs.thigh, clothes.trousers),
    shin.bone(0.043 * height, legs.shin, clothes.trousers),
    shin.part("ellipsoid", size, shoe, clothes.shoes),
  ]


def _arm(trunk, posture, which, height, clothes):
  """Returns upper arm, forearm and hand."""
  side, across = which
  upper = trunk.turned(
    (0, -_SHOULDER * height, 0.125 * height * across),
    articulation.side_swing(across * posture.raised[side]),
  ).turned((0, 0, 0), articulation.forward_swing(posture.arm[side]))
  fore = upper.turned(
    (0, _UPPER_ARM * height, 0), articulation.forward_swing(posture.elbow[side])
  )
  hand = (0, _FOREARM * height, 0)
  return [
    upper.bone(0.04 * height, _UPPER_ARM * height, clothes.shirt),
    fore.bone(0.032 * height, _FOREARM * height, clothes.skin),
    fore.part("ellipsoid", np.full(3, 0.038 * height), hand, clothes.skin),
  ]
