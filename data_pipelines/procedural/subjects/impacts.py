"""Collisions on the ground, and things that fall and bounce."""

import dataclasses

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import (
  articulation,
  primitives,
  rotations,
  textures,
)
from data_pipelines.procedural.stage import appearance, shots
from data_pipelines.procedural.subjects import drafts, wording

GRAVITY = 9.81  # Metres per square second; a clip lasts a second.


@dataclasses.dataclass(frozen=True)
class Collision:
  """Two balls on the ground; one impulse along the line of their centres.

  Attributes:
    start: of both on the ground (x, z) in metres, [2 2].
    velocity: before, [2 2] in metres per clip.
    radius: of both balls, [2].
    bounce: share of the approaching speed that is left, 0 to 1.
  """

  start: Float[np.ndarray, "2 2"]
  velocity: Float[np.ndarray, "2 2"]
  radius: Float[np.ndarray, "2"]
  bounce: float

  @property
  def mass(self) -> Float[np.ndarray, "2"]:
    """Returns the masses of balls of equal density, up to a factor."""
    return self.radius**3

  @property
  def touching(self) -> float:
    """Returns how far apart on the ground two touching balls stand."""
    return 2 * float(np.sqrt(self.radius[0] * self.radius[1]))

  def time(self) -> float:
    """Returns when they touch, infinity if they never do."""
    gap, closing = (
      np.diff(self.start, axis=0)[0],
      np.diff(self.velocity, axis=0)[0],
    )
    a, b = closing @ closing, gap @ closing
    c = gap @ gap - self.touching**2
    discriminant = b * b - a * c
    if a == 0 or discriminant < 0 or b >= 0:
      return np.inf
    return float((-b - np.sqrt(discriminant)) / a)

  def after(self) -> Float[np.ndarray, "2 2"]:
    """Returns the velocities after the collision."""
    at = self.start + self.time() * self.velocity
    normal = (at[1] - at[0]) / np.linalg.norm(at[1] - at[0])
    closing = (self.velocity[0] - self.velocity[1]) @ normal
    first, second = self.mass
    impulse = (1 + self.bounce) * closing * first * second / (first + second)
    change = np.stack([-normal / first, normal / second])
    return self.velocity + impulse * change

  def paths(self, times: Float[np.ndarray, "T"]) -> Float[np.ndarray, "2 T 2"]:
    """Returns both ways over the ground, metres."""
    meet = self.time()
    before = (
      self.start[:, None]
      + np.minimum(times, meet)[:, None] * (self.velocity[:, None])
    )
    late = np.maximum(times - meet, 0.0)[:, None]
    return before + late * self.after()[:, None]


def rolling_ball(
  path: Float[np.ndarray, "T 2"],
  radius: float,
  material: textures.Material,
  number: int,
) -> primitives.Primitive:
  """Returns a ball that rolls along straight pieces without slipping.

  Args:
    path: of the point that touches the ground (x, z), metres.
    radius: metres.
    material: its surface.
    number: of the moving object.
  """
  rotation = [np.eye(3)]
  for step in np.diff(path, axis=0):
    length = np.hypot(*step)
    turn = np.eye(3)
    if length > 0:
      axis = np.array([-step[1], 0.0, step[0]]) / length
      turn = rotations.about_axis(axis, length / radius)
    rotation.append(turn @ rotation[-1])
  place = np.stack(
    [path[:, 0], np.full(len(path), -radius), path[:, 1]], axis=-1
  )
  return primitives.Primitive(
    "ellipsoid",
    np.full(3, radius),
    np.stack(rotation),
    place,
    (material,),
    number,
  )


def _ball_looks(look, radius, number):
  """Draws surfaces and words of balls of different colours."""
  names = tuple(textures.PALETTE)
  chosen = look.permutation(len(names))[:number]
  materials, words = [], []
  for index in chosen:
    pattern = randomness.pick(look, textures.MORE_PATTERNS)
    materials.append(
      appearance.object_material(look, names[index], pattern, radius)
    )
    words.append(wording.thing(names[index], pattern, "ball"))
  return materials, words


def collision(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """A ball rolls into another one, or two roll into each other."""
  look, hidden = draws.look, draws.hidden
  radius = 0.72 * shot.radius * look.uniform(0.8, 1.2, 2)
  materials, words = _ball_looks(look, radius.mean(), 2)
  both = randomness.pick(draws.words, (True, False))
  side = randomness.sign(look)
  heading = np.radians(look.uniform(-18, 18))
  ahead = np.array([np.cos(heading), np.sin(heading)])
  middle = shot.subject[[0, 2]]
  apart = radius.sum() + shot.metres(look.uniform(0.16, 0.22))
  start = middle + side * 0.5 * apart * np.stack([-ahead, ahead])
  # They meet in the middle of the clip; where they touch is a little hidden.
  meet = hidden.uniform(0.4, 0.5)
  aim = np.arcsin(hidden.uniform(-0.45, 0.45) * radius.sum() / apart)
  cosine, sine = np.cos(aim), np.sin(aim)
  way = side * np.array(
    [cosine * ahead[0] - sine * ahead[1], sine * ahead[0] + cosine * ahead[1]]
  )
  gap = apart - 2 * np.sqrt(radius[0] * radius[1])
  speed = gap / meet * (0.5 if both else 1.0)
  velocity = np.stack([speed * way, -speed * way if both else 0 * way])
  event = Collision(start, velocity, radius, hidden.uniform(0.8, 0.98))
  paths = event.paths(articulation.times(num_frames))
  items = [
    rolling_ball(paths[i], radius[i], materials[i], i + 1) for i in range(2)
  ]
  first, second = words
  sentences = (
    f"{first} rolls into {second}",
    f"{first} hits {second}",
    f"{first} bumps into {second}",
  )
  if both:
    sentences = (
      f"{first} and {second} roll into each other",
      f"{first} and {second} collide",
      f"{first} and {second} roll towards each other and collide",
    )
  sentence = randomness.pick(draws.words, sentences)
  zone = (0.9 * apart + 2 * radius.max(), 0.5 * apart + 2 * radius.max())
  return drafts.Draft(tuple(items), sentence, zone)


def bounces(
  drop: float, times: Float[np.ndarray, "T"], bounce: float
) -> Float[np.ndarray, "T"]:
  """Returns the height of what falls and bounces, metres.

  Args:
    drop: height at the start.
    times: seconds.
    bounce: share of the speed that is left after the ground.
  """
  height = drop - 0.5 * GRAVITY * times**2
  landing, speed = np.sqrt(2 * drop / GRAVITY), np.sqrt(2 * drop * GRAVITY)
  while landing < times[-1] and speed > 1e-3:
    speed *= bounce
    late = times - landing
    height = np.where(late > 0, speed * late - 0.5 * GRAVITY * late**2, height)
    landing += 2 * speed / GRAVITY
  return np.maximum(height, 0.0)


def falling(
  draws: drafts.Draws, shot: shots.Shot, num_frames: int
) -> drafts.Draft:
  """One or two balls fall and bounce, or fly to a side while they do."""
  look, hidden = draws.look, draws.hidden
  count = randomness.pick(look, (1, 1, 2))
  radius = 0.8 * shot.radius * look.uniform(0.85, 1.1)
  materials, words = _ball_looks(look, radius, count)
  times = articulation.times(num_frames)
  way = randomness.pick(draws.words, ("", "left", "right"))
  far = shot.metres(hidden.uniform(0.2, 0.28))
  speed = {"": 0.0, "left": -far, "right": far}[way]
  items = []
  for number in range(count):
    side = (number - 0.5 * (count - 1)) * 2.6 * radius
    drop = look.uniform(1.6, 2.4) * shot.radius
    height = bounces(drop, times, hidden.uniform(0.6, 0.85))
    place = np.stack(
      [
        shot.subject[0] + side + speed * times,
        -radius - height,
        np.full(num_frames, shot.subject[2]),
      ],
      axis=-1,
    )
    spin = rotations.about_z(0.8 * speed * times / radius)
    frame = articulation.Frame(spin, place)
    size = np.full(3, radius)
    items.append(
      frame.part("ellipsoid", size, (0, 0, 0), materials[number], number + 1)
    )
  subject, verb = " and ".join(words), ("s" if count == 1 else "")
  if way:
    sentences = (
      f"{subject} bounce{verb} to the {way}",
      f"{subject} fall{verb} and bounce{verb} to the {way}",
    )
  else:
    down = "falls down and bounces" if count == 1 else "fall down and bounce"
    sentences = (f"{subject} {down}", f"{subject} drop{verb} to the ground")
  sentence = randomness.pick(draws.words, sentences)
  zone = (shot.metres(0.28) + (1 + count) * 1.3 * radius, 1.5 * radius)
  return drafts.Draft(tuple(items), sentence, zone)
