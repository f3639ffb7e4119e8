"""Articulated walkers: people and dogs made of capsules."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import primitives, rotations, textures
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording

_DOWN = np.array([0.0, 1.0, 0.0])
# Periods during the clip and largest angle of the legs in radians.
_GAIT = {"slowly": (0.55, 0.30), "quickly": (0.90, 0.50)}


@dataclasses.dataclass(frozen=True)
class Frame:
  """Where a walker is and where it faces.

  Attributes:
    root: point of the ground below it, [T 3] in metres.
    forward: unit vector on the ground, [3].
    height: of the walker in metres.
  """

  root: np.ndarray
  forward: np.ndarray
  height: float

  @property
  def lateral(self) -> np.ndarray:
    """Returns the unit vector across the walker."""
    return np.cross(self.forward, _DOWN)

  def at(self, forward: float, up: float, across: float) -> np.ndarray:
    """Returns a point of the body, [T 3], in shares of the height."""
    shift = forward * self.forward - up * _DOWN + across * self.lateral
    return self.root + self.height * shift

  def swing(self, start, length: float, angle) -> np.ndarray:
    """Returns the end of a limb that hangs from start, turned by an angle."""
    angle = np.broadcast_to(angle, len(start))[:, None]
    step = np.sin(angle) * self.forward + np.cos(angle) * _DOWN
    return start + self.height * length * step

  def limb(self, start, end, radius, material) -> primitives.Primitive:
    """Returns a capsule between two points, [T 3] each."""
    half = 0.5 * float(np.linalg.norm(end[0] - start[0]))
    size = np.array([radius * self.height, half, 0.0])
    rotation = rotations.along_segment(start, end, self.lateral)
    middle = 0.5 * (start + end)
    return primitives.Primitive(
      "capsule", size, rotation, middle, (material,), 1
    )


def _leg(frame, hip, sizes, phase, swing, material):
  """Returns thigh and shin; the knee bends while the leg comes forward.

  `sizes` are the thigh's and the shin's length and the thigh's radius.
  """
  *lengths, radius = sizes
  thigh = swing * np.sin(phase)
  knee = frame.swing(hip, lengths[0], thigh)
  bend = swing * (0.9 + 0.9 * np.cos(phase))
  foot = frame.swing(knee, lengths[1], thigh - bend)
  return [
    frame.limb(hip, knee, radius, material),
    frame.limb(knee, foot, 0.85 * radius, material),
  ]


def _person(frame, phase, swing, arm, materials):
  """Returns head, trunk, arms and legs; `arm` is an angle [T] or None."""
  skin, shirt, trousers = materials
  hip, shoulder = 0.48, 0.80
  neck, seat = frame.at(0, shoulder, 0), frame.at(0, hip + 0.04, 0)
  head = frame.at(0.01, 0.92, 0)
  items = [
    frame.limb(seat, neck, 0.095, shirt),
    frame.limb(head + 1e-3 * frame.height * _DOWN, head, 0.08, skin),
  ]
  for side in (-1.0, 1.0):
    turn = phase + (0 if side > 0 else np.pi)
    joint = frame.at(0, hip, 0.06 * side)
    sizes = (0.23, 0.21, 0.05)
    items += _leg(frame, joint, sizes, turn, swing, trousers)
    joint = frame.at(0, shoulder, 0.14 * side)
    upper = -0.9 * swing * np.sin(turn)
    lower = upper + 0.3
    if arm is not None and side > 0:
      upper, lower = np.full_like(arm, 2.3), 2.9 + arm
    elbow = frame.swing(joint, 0.17, upper)
    hand = frame.swing(elbow, 0.17, lower)
    items.append(frame.limb(joint, elbow, 0.04, shirt))
    items.append(frame.limb(elbow, hand, 0.034, skin))
  return items


def _dog(frame, phase, swing, materials):
  """Returns body, head, tail and four legs of two capsules each."""
  coat, _, patch = materials
  back = 0.62
  items = [
    frame.limb(frame.at(-0.5, back, 0), frame.at(0.45, back, 0), 0.2, coat),
    frame.limb(frame.at(0.5, 0.75, 0), frame.at(0.75, 0.98, 0), 0.12, coat),
    frame.limb(frame.at(0.78, 0.98, 0), frame.at(1.0, 0.93, 0), 0.11, patch),
  ]
  tail = frame.at(-0.66, 0.72, 0)
  wag = -2.3 + 0.3 * np.sin(2 * phase)
  items.append(frame.limb(tail, frame.swing(tail, 0.35, wag), 0.05, patch))
  for ahead in (-0.42, 0.4):
    for side in (-1.0, 1.0):
      turn = phase + (0 if side * ahead > 0 else np.pi)
      hip = frame.at(ahead, 0.52, 0.12 * side)
      items += _leg(frame, hip, (0.25, 0.22, 0.075), turn, swing, coat)
  return items


def _materials(rng, words, size):
  """Draws three surfaces and the name of the second one's colour."""
  colour = randomness.pick(rng, tuple(textures.PALETTE))
  pattern = randomness.pick(rng, textures.PATTERNS)
  skin = appearance.object_material(rng, words, "plain", size)
  shirt = appearance.object_material(rng, colour, pattern, size)
  other = randomness.pick(rng, ("blue", "brown", "white", "green", "purple"))
  return (
    skin,
    shirt,
    appearance.object_material(rng, other, "plain", size),
  ), colour


def _facing(rng, where):
  """Returns a unit vector on the ground for a word, with a little turn."""
  heading = {"right": 0.0, "away": 90.0, "left": 180.0, "closer": 270.0}[where]
  angle = np.radians(heading + rng.uniform(-12, 12))
  return np.array([np.cos(angle), 0.0, np.sin(angle)])


def walking(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A person or a dog walks, or a person stands and waves an arm.

  The picture shows where a walker faces, so `draws.look` draws it.
  """
  look, hidden = draws.look, draws.hidden
  is_dog = bool(look.random() < 0.35)
  waving = not is_dog and bool(look.random() < 0.25)
  where = randomness.pick(
    look, ("left", "right", "left", "right", "closer", "away")
  )
  height = shot.radius * (1.9 if is_dog else 4.2)
  forward = _facing(look, where)
  start_phase = look.uniform(0, 2 * np.pi)
  coat = randomness.pick(
    look,
    ("brown", "white", "orange") if is_dog else ("pink", "brown", "orange"),
  )
  materials, colour = _materials(look, coat, 0.12 * height)
  speed = randomness.pick(draws.words, tuple(_GAIT))
  cycles, swing = _GAIT[speed]
  # The legs' angle shows in the first picture; only the pace is hidden.
  swing, cycles = 0.4, cycles * hidden.uniform(0.85, 1.15)
  if waving:
    swing, cycles = 0.08, 0.0
  time = np.linspace(0.0, 1.0, num_frames)
  phase = start_phase + 2 * np.pi * cycles * time
  stride = 4 * np.sin(swing) * 0.44 * height * cycles
  root = shot.subject * [1, 0, 1] + time[:, None] * stride * forward
  frame = Frame(root, forward, height)
  if is_dog:
    items = _dog(frame, phase, swing, materials)
    sentence = f"{wording.with_article(coat)} dog walks {speed} "
  else:
    arm = None
    if waving:
      rate = 2 * np.pi * hidden.uniform(0.9, 1.3)
      arm = 0.7 * np.sin(start_phase + rate * time)
    items = _person(frame, phase, swing, arm, materials)
    sentence = f"a person in {colour} walks {speed} "
  sentence += f"to the {where}" if where in ("left", "right") else where
  if waving:
    sentence = f"a person in {colour} stands and waves an arm"
  reach = shot.metres(0.5) + shot.radius
  return drafts.Draft(tuple(items), sentence, (reach, 1.8 * shot.radius))
