"""Things that open and shut: doors, gates, chests and drawers."""

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

# Degrees that a door turns; the two words are a factor of two apart.
_ANGLE = {"slowly": (26, 36), "quickly": (66, 84)}
_AJAR = 8.0  # Degrees that a door stands open at least, so that it shows.


@dataclasses.dataclass(frozen=True)
class Move:
  """How far something opens.

  Attributes:
    share: of the widest opening in every frame, [T]; 1 is `widest`.
    verb: with the word for the pace.
  """

  share: np.ndarray
  verb: str


def _move(draws: drafts.Draws, num_frames: int) -> Move:
  """Draws whether it opens or shuts, and how far; degrees in `share`."""
  opens = bool(draws.look.random() < 0.6)
  pace = randomness.pick(draws.words, tuple(_ANGLE))
  start = _AJAR if opens else _AJAR + 90.0
  way = draws.hidden.uniform(*_ANGLE[pace]) * (1 if opens else -1)
  time = articulation.times(num_frames)
  eased = time if draws.hidden.random() < 0.5 else time * time * (3 - 2 * time)
  words = ("opens", "swings open") if opens else ("closes", "swings shut")
  verb = randomness.pick(draws.words, words)
  return Move(start + way * eased, f"{verb} {pace}")


def hinged(
  frame: articulation.Frame, hinge, degrees, *, upright: bool
) -> articulation.Frame:
  """Returns a frame that turns about a hinge.

  Args:
    frame: that the hinge is fixed to.
    hinge: a point on it, [3] in metres.
    degrees: of every frame, [T].
    upright: about the vertical (a door), else about the frame's x axis.
  """
  turn = rotations.about_y if upright else rotations.about_x
  return frame.turned(hinge, turn(np.radians(degrees)))


def _colours(look, size):
  """Draws a surface and the words for it."""
  colour = randomness.pick(look, tuple(textures.PALETTE))
  pattern = randomness.pick(look, textures.MORE_PATTERNS)
  return (
    appearance.object_material(look, colour, pattern, 0.6 * size),
    f"{colour} {appearance.PATTERN_WORDS[pattern]}",
  )


def _wing(frame, side, size, materials):
  """Returns a door's leaf and handle; the frame's origin is on its hinge.

  Args:
    frame: turns with the leaf.
    side: -1 for a leaf that reaches to the left of its hinge, else 1.
    size: half width, half height and half thickness in metres.
    materials: of the leaf and of the handle.
  """
  leaf, handle = materials
  knob = np.full(3, 0.09 * size[0])
  items = [frame.part("box", size, (side * size[0], -size[1], 0), leaf)]
  for front in (-1, 1):
    place = (1.75 * side * size[0], -size[1], front * (size[2] + knob[0]))
    items.append(frame.part("ellipsoid", knob, place, handle))
  return items


def door(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A door with one wing, or a gate with two, turns on its hinges."""
  look = draws.look
  is_gate = bool(look.random() < 0.35)
  half = shot.radius * np.array([0.75, 1.75, 0.07])
  angle = look.uniform(-0.45, 0.45)
  ground = articulation.standing(shot.subject * [1, 0, 1], angle, num_frames)
  leaf, words = _colours(look, half[0])
  metal = appearance.object_material(look, "yellow", "plain", half[0])
  post = appearance.clutter_material(look, half[0])
  move = _move(draws, num_frames)
  inwards = randomness.sign(look)
  sides = (-1, 1) if is_gate else (int(randomness.sign(look)),)
  opening = half[0] * (2 if is_gate else 1)
  items = []
  for side in sides:
    hinge = (-side * opening, -0.03 * half[1], 0)
    degrees = inwards * side * move.share
    wing = hinged(ground, hinge, degrees, upright=True)
    items += _wing(wing, side, half, (leaf, metal))
  thick = 0.16 * half[0]
  height = half[1] + 0.06 * half[1]
  for side in (-1, 1):
    place = (side * (opening + thick), -height, 0)
    size = (thick, height, 2 * half[2])
    items.append(ground.part("box", size, place, post, 0))
  if not is_gate:
    size = (opening + 2 * thick, thick, 2 * half[2])
    items.append(ground.part("box", size, (0, -2 * height - thick, 0), post, 0))
  noun = f"{words}gate" if is_gate else f"{words}door"
  sentence = f"{wording.with_article(noun)} {move.verb}"
  zone = (2.2 * half[0] + opening, 2.4 * half[0])
  return drafts.Draft(tuple(items), sentence, zone)


def chest(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """The lid of a chest turns on its hinge."""
  look = draws.look
  half = shot.radius * np.array([1.25, 0.5, 0.75])
  angle = look.uniform(-0.5, 0.5)
  ground = articulation.standing(shot.subject * [1, 0, 1], angle, num_frames)
  wood, words = _colours(look, half[0])
  metal = appearance.object_material(look, "yellow", "plain", half[0])
  dark = textures.flat([0.12, 0.1, 0.08])
  move = _move(draws, num_frames)
  wall = 0.1 * half[0]
  items = [ground.part("box", half, (0, -half[1], 0), wood, 0)]
  inside = (half[0] - wall, 0.01 * half[0], half[2] - wall)
  items.append(ground.part("box", inside, (0, -2 * half[1], 0), dark, 0))
  # The hinge is at the back, so that the lid opens upwards.
  lid = hinged(
    ground, (0, -2.03 * half[1], half[2]), -move.share, upright=False
  )
  thick = 0.22 * half[1]
  items.append(
    lid.part("box", (half[0], thick, half[2]), (0, -thick, -half[2]), wood)
  )
  place = (0, -thick, -2 * half[2] - 0.06 * half[0])
  items.append(lid.part("ellipsoid", np.full(3, 0.1 * half[0]), place, metal))
  noun = randomness.pick(draws.words, ("chest", "box"))
  words = wording.with_article(f"{words}{noun}")
  sentence = randomness.pick(
    draws.words, (f"{words} {move.verb}", f"the lid of {words} {move.verb}")
  )
  return drafts.Draft(tuple(items), sentence, (1.4 * half[0], 2 * half[2]))


def drawer(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A drawer slides out of a cabinet, or back into it."""
  look = draws.look
  half = shot.radius * np.array([0.95, 1.15, 0.8])
  angle = look.uniform(-0.6, 0.6)
  ground = articulation.standing(shot.subject * [1, 0, 1], angle, num_frames)
  body = appearance.clutter_material(look, half[0])
  front, words = _colours(look, half[0])
  metal = appearance.object_material(look, "white", "plain", half[0])
  move = _move(draws, num_frames)
  number = int(look.integers(3))
  tall = half[1] / 3
  items: list[primitives.Primitive] = [
    ground.part("box", half, (0, -half[1], 0), body, 0)
  ]
  for row in range(3):
    moves = row == number
    out = 1.5 * half[2] * move.share / 98.0 if moves else 0 * move.share
    zero = np.zeros_like(out)
    slide = articulation.moving(ground, np.stack([zero, zero, -out], axis=-1))
    middle = -(2 * row + 1) * tall
    size = (0.9 * half[0], 0.86 * tall, half[2])
    place = (0, middle, -0.06 * half[2])
    items.append(slide.part("box", size, place, front, int(moves)))
    knob = (0, middle, -1.06 * half[2] - 0.08 * half[0])
    size = np.full(3, 0.09 * half[0])
    items.append(slide.part("ellipsoid", size, knob, metal, int(moves)))
  name = ("bottom", "middle", "top")[number]
  pace = move.verb.split()[-1]
  opens = bool(move.share[-1] > move.share[0])
  verbs = ("opens", "slides out") if opens else ("closes", "slides in")
  verb = randomness.pick(draws.words, verbs)
  sentence = f"the {name} drawer of a cabinet with {words}drawers {verb} {pace}"
  zone = (1.3 * half[0], 3 * half[2])
  return drafts.Draft(tuple(items), sentence, zone)
