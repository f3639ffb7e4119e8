"""Things with wheels: a wheel that rolls, a cart, a wheel on a stand."""

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

_SPEED = {"slowly": (0.115, 0.14), "quickly": (0.28, 0.33)}
# Turns during the clip: below half the angle between two of six spokes from
# one of nine frames to the next, so that the sense can be seen.
_TURN = {"slowly": (0.12, 0.17), "quickly": (0.36, 0.45)}


def _spoked(look, colour, radius) -> textures.Material:
  """Returns a surface of coloured gaps between dark or light spokes."""
  base = np.array(textures.COLOURS[colour])
  second = np.full(3, 0.12 if base.mean() > 0.4 else 0.92)
  count = float(look.integers(3, 7))
  return textures.Material(
    "spoked",
    np.clip(np.stack([base, second]), 0.02, 1),
    np.array([count, 1 / radius, 0.0]),
    look.uniform(0, 2 * np.pi, 3),
  )


def wheel(
  hub: articulation.Frame, radius: float, half_width: float, material
) -> primitives.Primitive:
  """Returns a wheel whose axle is the frame's z axis."""
  turned = hub.turned((0, 0, 0), rotations.about_x(0.5 * np.pi))
  return turned.part("cylinder", (radius, half_width), (0, 0, 0), material)


def rolled(
  frame: articulation.Frame, way, hub, radius: float
) -> articulation.Frame:
  """Returns the frame of a wheel that rolls without slipping.

  Args:
    frame: of the vehicle, already on its way along its x axis.
    way: metres that it has gone, [T].
    hub: the wheel's middle in the frame, [3] in metres.
    radius: metres.
  """
  return frame.turned(hub, rotations.about_z(np.asarray(way) / radius))


def _journey(draws, shot, num_frames):
  """Draws a heading and the way along it.

  Returns: the side's word, the speed's word, the frame on the ground that
  moves along, and the way [T] in metres.
  """
  side = randomness.pick(draws.words, ("left", "right"))
  speed = randomness.pick(draws.words, tuple(_SPEED))
  length = shot.metres(draws.hidden.uniform(*_SPEED[speed]))
  way = length * articulation.times(num_frames) * (1 if side == "right" else -1)
  # Left is backwards: the first picture does not tell which way it will go.
  angle = np.radians(draws.look.uniform(-25, 25))
  frame = articulation.standing(shot.subject * [1, 0, 1], angle, num_frames)
  zero = np.zeros_like(way)
  frame = articulation.moving(frame, np.stack([way, zero, zero], axis=-1))
  return side, speed, frame, way


def rolling(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A spoked wheel rolls to a side."""
  look = draws.look
  radius = 1.15 * shot.radius
  colour = randomness.pick(look, tuple(textures.PALETTE))
  material = _spoked(look, colour, radius)
  side, speed, frame, way = _journey(draws, shot, num_frames)
  hub = rolled(frame, way, (0, -radius, 0), radius)
  width = look.uniform(0.12, 0.22) * radius
  item = wheel(hub, radius, width, material)
  words = wording.with_article(f"{colour} wheel")
  sentence = wording.sideways(draws.words, words, "rolls", (speed, side))
  reach = shot.metres(_SPEED["quickly"][1]) + 1.3 * radius
  return drafts.Draft((item,), sentence, (reach, 1.3 * radius))


def cart(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A cart, car or wagon on four wheels rolls to a side."""
  look = draws.look
  size = 1.5 * shot.radius
  colour = randomness.pick(look, tuple(textures.PALETTE))
  pattern = randomness.pick(look, textures.PATTERNS)
  paint = appearance.object_material(look, colour, pattern, 0.6 * size)
  kind = randomness.pick(look, ("car", "wagon", "truck"))
  rim = randomness.pick(look, ("white", "grey", "yellow", "red"))
  radius = look.uniform(0.24, 0.32) * size
  tyre = _spoked(look, rim, radius)
  glass = appearance.object_material(look, "cyan", "plain", size)
  side, speed, frame, way = _journey(draws, shot, num_frames)
  floor = 0.9 * radius
  tall = (0.3 if kind == "car" else 0.24) * size
  items = [
    frame.part("box", (size, tall, 0.5 * size), (0, -floor - tall, 0), paint)
  ]
  top = -floor - 2 * tall
  if kind == "car":
    size_of = (0.55 * size, 0.22 * size, 0.44 * size)
    items.append(
      frame.part("box", size_of, (-0.1 * size, top - 0.22 * size, 0), glass)
    )
  elif kind == "truck":
    size_of = (0.28 * size, 0.3 * size, 0.46 * size)
    front = 0.7 * size if side == "right" else -0.7 * size
    items.append(
      frame.part("box", size_of, (front, top - 0.3 * size, 0), glass)
    )
  else:
    load = appearance.object_material(look, "brown", "plain", size)
    for place in (-0.55, 0.0, 0.55):
      size_of = np.full(3, 0.3 * size)
      items.append(
        frame.part(
          "ellipsoid", size_of, (place * size, top - 0.15 * size, 0), load
        )
      )
  for ahead in (-0.62, 0.62):
    for across in (-0.5, 0.5):
      hub = rolled(frame, way, (ahead * size, -radius, across * size), radius)
      items.append(wheel(hub, radius, 0.08 * size, tyre))
  words = wording.thing(colour, pattern, kind)
  verb = randomness.pick(draws.words, ("rolls", "drives"))
  sentence = wording.sideways(draws.words, words, verb, (speed, side))
  reach = shot.metres(_SPEED["quickly"][1]) + 1.4 * size
  return drafts.Draft(tuple(items), sentence, (reach, size))


@dataclasses.dataclass(frozen=True)
class _Stand:
  """Where a turning thing is held: its hub, turned towards the camera."""

  hub: articulation.Frame
  post: primitives.Primitive


def _stand(look, shot, num_frames, radius) -> _Stand:
  angle = look.uniform(-0.45, 0.45)
  ground = articulation.standing(shot.subject * [1, 0, 1], angle, num_frames)
  rise = -shot.subject[1] + 0.2 * shot.radius
  size = (0.09 * radius, 0.5 * rise, 0.09 * radius)
  # The frame's z axis points away, so the stand is behind the hub.
  place = (0, -0.5 * rise, 0.3 * radius)
  post = ground.part(
    "box", size, place, appearance.clutter_material(look, 0.2), 0
  )
  return _Stand(ground.turned((0, -rise, 0), np.eye(3)), post)


def spinning(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A wheel or a windmill's sails turn on a stand."""
  look = draws.look
  is_wheel = bool(look.random() < 0.5)
  radius = 1.5 * shot.radius
  colour = randomness.pick(look, tuple(textures.PALETTE))
  stand = _stand(look, shot, num_frames, radius)
  speed = randomness.pick(draws.words, tuple(_TURN))
  sense = randomness.pick(draws.words, ("clockwise", "anticlockwise"))
  turns = draws.hidden.uniform(*_TURN[speed])
  angle = 2 * np.pi * turns * articulation.times(num_frames)
  angle = look.uniform(0, 2 * np.pi) + (
    angle if sense == "clockwise" else -angle
  )
  hub = stand.hub.turned((0, 0, 0), rotations.about_z(angle))
  if is_wheel:
    material = _spoked(look, colour, radius)
    items = [wheel(hub, radius, 0.1 * radius, material)]
    words = wording.with_article(f"{colour} wheel on a stand")
  else:
    sails = int(look.integers(3, 6))
    pattern = randomness.pick(look, ("plain", "striped"))
    material = appearance.object_material(look, colour, pattern, 0.5 * radius)
    items = [
      hub.part(
        "ellipsoid",
        np.full(3, 0.14 * radius),
        (0, 0, 0),
        stand.post.materials[0],
      )
    ]
    for sail in range(sails):
      blade = hub.turned((0, 0, 0), rotations.about_z(2 * np.pi * sail / sails))
      size = (0.5 * radius, 0.13 * radius, 0.03 * radius)
      items.append(
        blade.part("box", size, (0.6 * radius, 0.08 * radius, 0), material)
      )
    words = f"a windmill with {wording.NUMBERS[sails]} {colour} sails"
  sentence = randomness.pick(
    draws.words,
    (
      f"{words} turns {speed} {sense}",
      f"{words} spins {sense} {speed}",
      f"{words} {speed} turns {sense}",
    ),
  )
  zone = (1.3 * radius, 0.8 * radius)
  return drafts.Draft((*items, stand.post), sentence, zone)
