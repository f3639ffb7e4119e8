"""Birds that fly with flapping wings."""

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

_WAY = {"slowly": 0.14, "quickly": 0.3}  # Of the width of a 4:3 picture.
_BEATS = {"slowly": 1.3, "quickly": 2.0}  # Of the wings in a clip.
# Shares of the bird's size: half axes and place of its ellipsoids.
_TRUNK = ((0.5, 0.2, 0.2), (0, 0, 0))
_HEAD = ((0.17, 0.17, 0.17), (0.5, -0.13, 0))
_BILL = ((0.14, 0.04, 0.05), (0.72, -0.11, 0))
_TAIL = ((0.3, 0.03, 0.14), (-0.65, -0.03, 0))


def _surfaces(look, colour, size):
  """Draws the surfaces of coat, wings and bill."""
  coat = appearance.object_material(look, colour, "plain", size)
  pattern = randomness.pick(look, ("plain", "striped", "spotted"))
  feathers = appearance.object_material(look, colour, pattern, size)
  return (
    coat,
    feathers,
    appearance.object_material(look, "orange", "plain", size),
  )


def _body(
  trunk: articulation.Frame, size: float, surfaces, beat
) -> list[primitives.Primitive]:
  """Returns trunk, head, bill, tail and wings; beat is their phase, [T]."""
  coat, feathers, bill = surfaces

  def ellipsoid(shares, material):
    half, place = (size * np.array(share) for share in shares)
    return trunk.part("ellipsoid", half, place, material)

  items = [
    ellipsoid(_TRUNK, coat),
    ellipsoid(_HEAD, coat),
    ellipsoid(_BILL, bill),
    ellipsoid(_TAIL, feathers),
  ]
  for across in (-1.0, 1.0):
    root = trunk.turned(
      (0.08 * size, -0.1 * size, 0.1 * size * across),
      rotations.about_x(-across * 0.75 * np.sin(beat)),
    )
    items.append(_wing(root, across, (0.42, 0.3), size, feathers))
    tip = root.turned(
      (0, 0, 0.75 * size * across),
      rotations.about_x(-across * 0.6 * np.sin(beat - 0.9)),
    )
    items.append(_wing(tip, across, (0.36, 0.22), size, feathers))
  return items


def _wing(frame, across, share, size, feathers):
  """Returns a flat ellipsoid that reaches out to one side."""
  reach, deep = share
  place = (0, 0, 0.95 * reach * size * across)
  return frame.part(
    "ellipsoid", (deep * size, 0.03 * size, reach * size), place, feathers
  )


def flying(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A bird flies to a side with flapping wings."""
  look, hidden = draws.look, draws.hidden
  size = 1.5 * shot.radius
  colour = randomness.pick(look, (*textures.PALETTE, "black", "grey"))
  surfaces = _surfaces(look, colour, size)
  side = randomness.pick(look, ("left", "right"))
  heading = np.radians(articulation.HEADINGS[side] + look.uniform(-20, 20))
  pace = randomness.pick(draws.words, tuple(_WAY))
  way = shot.metres(_WAY[pace]) * hidden.uniform(0.85, 1.15)
  rate = _BEATS[pace] * hidden.uniform(0.9, 1.1)
  time = articulation.times(num_frames)
  beat = look.uniform(0, 2 * np.pi) + 2 * np.pi * rate * time
  start = shot.subject - [0, 0.35 * shot.radius, 0]
  lift = 0.06 * size * (np.cos(beat[0]) - np.cos(beat))
  shift = np.stack([way * time, lift, np.zeros_like(time)], axis=-1)
  trunk = articulation.moving(
    articulation.standing(start, heading, num_frames), shift
  )
  words = wording.with_article(f"{colour} bird")
  sentence = randomness.pick(
    draws.words,
    (
      f"{words} flies {pace} to the {side}",
      f"{words} flaps its wings and flies {pace} to the {side}",
      f"{words} flies to the {side} {pace}, flapping its wings",
    ),
  )
  items = _body(trunk, size, surfaces, beat)
  return drafts.Draft(tuple(items), sentence, (way + 1.2 * size, 1.6 * size))
