"""Things that hang: flags and curtains of cloth, chains and pendulums."""

import itertools

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import (
  cloth,
  primitives,
  rotations,
  textures,
)
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording

_FORCE = {"gently": (0.7, 0.14), "strongly": (1.3, 0.24)}


def _rod(start, end, radius, material, num_frames):
  """Returns a still capsule between two points, [3] each."""
  axis = (end - start) / np.linalg.norm(end - start)
  lateral = np.cross(axis, [0.3, 0.2, 1.0])
  lateral = lateral / np.linalg.norm(lateral)
  rotation = rotations.along_segment(start[None], end[None], lateral)
  size = np.array([radius, 0.5 * np.linalg.norm(end - start), 0.0])
  return primitives.Primitive(
    "capsule",
    size,
    np.repeat(rotation, num_frames, axis=0),
    np.tile(0.5 * (start + end), (num_frames, 1)),
    (material,),
  )


def waving(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A flag on a pole, or a curtain on a rod, waves in the wind."""
  look, hidden = draws.look, draws.hidden
  is_flag = bool(look.random() < 0.65)
  colour = randomness.pick(look, tuple(textures.PALETTE))
  pattern = randomness.pick(look, textures.PATTERNS)
  half = shot.radius * np.array([1.15, 0.75]) * look.uniform(0.9, 1.1, 2)
  if not is_flag:
    half = shot.radius * np.array([1.0, 1.0]) * look.uniform(0.85, 1.15, 2)
  material = appearance.object_material(look, colour, pattern, half[0])
  force = randomness.pick(draws.words, tuple(_FORCE))
  cycles = _FORCE[force][0] * hidden.uniform(0.85, 1.15)
  along = 0 if is_flag else 1
  # The amplitude shows in the picture, so it does not follow the word.
  amplitude = 2 * half[along] * look.uniform(0.12, 0.24)
  wave = cloth.Wave(
    amplitude,
    look.uniform(0.7, 1.3) if is_flag else look.uniform(0.4, 0.8),
    look.uniform(-0.9, 0.9),
    cycles,
    look.uniform(0, 2 * np.pi),
    along,
  )
  yaw = look.uniform(-0.6, 0.6) + (np.pi if look.random() < 0.5 else 0.0)
  rotation = rotations.about_y(yaw)
  middle = shot.subject - [0, 0.25 * shot.radius, 0]
  item = primitives.Primitive(
    "cloth",
    np.array([half[0], half[1], 1.001 * amplitude]),
    np.repeat(rotation[None], num_frames, axis=0),
    np.tile(middle, (num_frames, 1)),
    (material,),
    1,
    wave,
  )
  metal = appearance.clutter_material(look, 0.2)
  thin = 0.06 * shot.radius
  if is_flag:
    edge = middle + rotation @ np.array([-half[0] - thin, 0, 0])
    top = edge - np.array([0, half[1] + 2 * thin, 0])
    rods = [_rod(top, edge * [1, 0, 1], thin, metal, num_frames)]
  else:
    ends = [
      middle + rotation @ np.array([s * 1.1 * half[0], -half[1] - thin, 0])
      for s in (-1, 1)
    ]
    rods = [_rod(ends[0], ends[1], thin, metal, num_frames)]
    rods += [_rod(e, e * [1, 0, 1], thin, metal, num_frames) for e in ends]
  noun = "flag" if is_flag else "curtain"
  sentence = f"{wording.thing(colour, pattern, noun)} waves {force} in the wind"
  return drafts.Draft(
    (item, *rods), sentence, (1.6 * half[0], half[0] + amplitude)
  )


def _joints(top, angles, length, across):
  """Returns the joints of a chain, a list of [T 3], from the top down."""
  joints = [np.tile(top, (len(angles[0]), 1))]
  for angle in angles:
    step = np.sin(angle)[:, None] * across
    step = step + np.cos(angle)[:, None] * np.array([0.0, 1.0, 0.0])
    joints.append(joints[-1] + length * step)
  return joints


def _links(joints, sizes, lateral, material):
  """Returns a capsule (radius, half length) between each pair of joints."""
  return [
    primitives.Primitive(
      "capsule",
      np.array([*sizes, 0.0]),
      rotations.along_segment(start, end, lateral),
      0.5 * (start + end),
      (material,),
      1,
    )
    for start, end in itertools.pairwise(joints)
  ]


def swinging(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A chain of links, or a ball on a rope, swings below a frame.

  All joints swing in phase, so a mirrored phase shows the same first picture:
  whether the chain swings on or back is hidden.
  """
  look, hidden = draws.look, draws.hidden
  is_chain = bool(look.random() < 0.5)
  links = int(look.integers(3, 5)) if is_chain else 1
  colour = randomness.pick(look, tuple(textures.PALETTE))
  pattern = randomness.pick(look, textures.PATTERNS)
  material = appearance.object_material(
    look, colour, pattern, 0.5 * shot.radius
  )
  dark = appearance.clutter_material(look, 0.2)
  speed = randomness.pick(draws.words, ("slowly", "quickly"))
  cycles = {"slowly": 0.45, "quickly": 0.95}[speed] * hidden.uniform(0.9, 1.1)
  phase = look.uniform(-1.2, 1.2)
  widest = look.uniform(0.5, 0.75)
  turn = 2 * np.pi * cycles * np.linspace(0.0, 1.0, num_frames)
  turn *= randomness.sign(hidden)
  swing = widest * np.sin(phase + turn)
  angles = [swing * (0.6 + 0.5 * (i + 1) / links) for i in range(links)]
  across = rotations.about_y(look.uniform(-0.35, 0.35)) @ [1.0, 0.0, 0.0]
  lateral = np.cross(across, [0.0, 1.0, 0.0])
  length = (3.4 if is_chain else 2.1) * shot.radius / links
  top = shot.subject - [0, 1.9 * shot.radius, 0]
  joints = _joints(top, angles, length, across)
  if is_chain:
    items = _links(joints, (0.3 * shot.radius, 0.4 * length), lateral, material)
    words = f"a chain of {wording.NUMBERS[links]} {colour} links"
  else:
    items = _links(joints, (0.06 * shot.radius, 0.5 * length), lateral, dark)
    items.append(
      primitives.Primitive(
        "ellipsoid",
        np.full(3, 0.8 * shot.radius),
        items[-1].rotation,
        joints[-1],
        (material,),
        1,
      )
    )
    words = f"{wording.thing(colour, pattern, 'ball')} on a rope"
  span = 2.6 * shot.radius * np.cross(lateral, [0.0, 1.0, 0.0])
  thin = 0.07 * shot.radius
  ends = [top + span, top - span]
  rods = [_rod(ends[0], ends[1], thin, dark, num_frames)]
  rods += [_rod(e, e * [1, 0, 1], thin, dark, num_frames) for e in ends]
  sentence = f"{words} swings {speed} from side to side"
  zone = (3.2 * shot.radius, 1.4 * shot.radius)
  return drafts.Draft((*items, *rods), sentence, zone)
