"""Rigid things that roll, slide, glide, hop or turn."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import (
  primitives,
  rotations,
  solids,
  textures,
)
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording

# Displacement over the clip as a share of the width of a 4:3 picture, at the
# depth of the object. The two words are a factor of two apart.
SPEED = {"slowly": (0.115, 0.14), "quickly": (0.28, 0.33)}
SIDE = {"left": -1.0, "right": 1.0}
_WAYS = ("left", "right", "closer", "away")
# Letters; a longer caption names the first mover only.
_LONGEST = 96
_HEADING = np.radians(6.0)


@dataclasses.dataclass(frozen=True)
class Thing:
  """One rigid thing at rest.

  Attributes:
    noun: a name of `solids.SOLIDS`.
    words: for instance "a red striped ball".
    yaw: turn about the vertical in radians.
    material: surface.
    radius: metres that one unit of the solid's size stands for.
    number: of the moving object.
    start: the point on the ground below it, [3] in metres.
  """

  noun: str
  words: str
  yaw: float
  material: textures.Material
  radius: float
  number: int
  start: np.ndarray

  def along(self, path: np.ndarray) -> primitives.Primitive:
    """Returns the thing on its way; path is [T 3] in metres."""
    return solids.travelling(
      self.noun, self.radius, path, self.yaw, self.material, self.number
    )


def _draw_thing(rng, radius, number, start):
  """Draws noun, colours, pattern and turn of a thing."""
  noun = randomness.pick(rng, tuple(solids.SOLIDS))
  colour = randomness.pick(rng, tuple(textures.PALETTE))
  pattern = randomness.pick(rng, textures.PATTERNS)
  material = appearance.object_material(rng, colour, pattern, radius)
  words = wording.thing(colour, pattern, noun)
  yaw = rng.uniform(0, 2 * np.pi)
  return Thing(noun, words, yaw, material, radius, number, start)


def sideways(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """One thing moves to a side; words fix direction and, closely, the speed."""
  start = shot.subject * [1, 0, 1]
  thing = _draw_thing(draws.look, shot.radius, 1, start)
  speed = randomness.pick(draws.words, tuple(SPEED))
  side = randomness.pick(draws.words, tuple(SIDE))
  length = shot.metres(draws.hidden.uniform(*SPEED[speed]))
  heading = draws.hidden.uniform(-_HEADING, _HEADING)
  move = SIDE[side] * length * np.array([np.cos(heading), 0, np.sin(heading)])
  time = np.linspace(0.0, 1.0, num_frames)[:, None]
  body = thing.along(start + time * move)
  verb = solids.SOLIDS[thing.noun].verb
  sentence = wording.sideways(draws.words, thing.words, verb, (speed, side))
  reach = shot.metres(SPEED["quickly"][1])
  zone = (reach + 1.3 * shot.radius, 0.15 * reach + 1.3 * shot.radius)
  return drafts.Draft((body,), sentence, zone)


def _hop(draws, shot, thing, num_frames):
  """A thing hops on the spot."""
  time = np.linspace(0.0, 1.0, num_frames)
  height = shot.radius * draws.hidden.uniform(1.0, 1.5)
  hops = draws.hidden.uniform(1.2, 1.8)
  path = np.tile(thing.start, (num_frames, 1))
  path[:, 1] -= height * np.abs(np.sin(np.pi * hops * time))
  return thing.along(path), f"{thing.words} hops up and down"


def _turn(draws, shot, thing, num_frames):
  """A thing turns about the vertical on the spot."""
  time = np.linspace(0.0, 1.0, num_frames)
  angle = randomness.sign(draws.hidden) * draws.hidden.uniform(1.2, 1.8) * time
  still = thing.along(np.tile(thing.start, (num_frames, 1)))
  body = dataclasses.replace(
    still, rotation=rotations.about_y(angle) @ still.rotation
  )
  return body, f"{thing.words} turns on the spot"


def _travel(draws, shot, thing, num_frames):
  """A thing moves to a side, closer or away."""
  verb = solids.SOLIDS[thing.noun].verb
  speed = randomness.pick(draws.words, tuple(SPEED))
  ways = ("left", "right") if thing.noun == "barrel" else _WAYS
  where = randomness.pick(draws.words, ways)
  length = shot.metres(draws.hidden.uniform(*SPEED[speed]))
  heading = draws.hidden.uniform(-2, 2) * _HEADING
  if where in SIDE:
    sentence = wording.sideways(draws.words, thing.words, verb, (speed, where))
    heading += 0.0 if where == "right" else np.pi
  else:
    sentence = f"{thing.words} {verb} {speed} {where}"
    heading += 0.5 * np.pi * (1 if where == "away" else -1)
    length *= 0.7 if where == "closer" else 1.4
  move = length * np.array([np.cos(heading), 0, np.sin(heading)])
  time = np.linspace(0.0, 1.0, num_frames)[:, None]
  return thing.along(thing.start + time * move), sentence


def several(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """One to three rigid things, each with its own movement and depth."""
  count = randomness.pick(draws.look, (1, 2, 2, 3))
  bodies, sentences = [], []
  lanes = draws.look.permutation(count)
  columns = draws.look.permutation(count) - 0.5 * (count - 1)
  for number in range(count):
    side = 0.22 * columns[number] + draws.look.uniform(-0.08, 0.08)
    lane = 2.7 * shot.radius * lanes[number]
    start = shot.subject * [1, 0, 1] + np.array([shot.metres(side), 0, lane])
    thing = _draw_thing(draws.look, shot.radius, number + 1, start)
    movement = randomness.pick(
      draws.words, (_travel, _hop, _turn), (0.6, 0.2, 0.2)
    )
    body, sentence = movement(draws, shot, thing, num_frames)
    bodies.append(body)
    sentences.append(sentence)
  sentence = " and ".join(sentences[:2])
  if len(sentence) > _LONGEST:
    sentence = sentences[0]
  reach = shot.metres(0.6) + 1.3 * shot.radius
  zone = (reach, 2.7 * shot.radius * count)
  return drafts.Draft(tuple(bodies), sentence, zone)
