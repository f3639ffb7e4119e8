"""Things that stand around: bodies at rest, trees, tufts, furniture."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import (
  articulation,
  expanses,
  primitives,
  rotations,
)
from data_pipelines.procedural.stage import framing
from data_pipelines.procedural.surfaces import colours, library, surface

_TRIES = 30


def skin(
  rng: np.random.Generator, name: str, colour, tiles: float, **more
) -> surface.Surface:
  """Returns a surface of the library with a colour, linear light."""
  shift = tuple(rng.random(3))
  return surface.Surface(
    library.any_of(rng, name), np.asarray(colour), tiles, shift=shift, **more
  )


@dataclasses.dataclass
class Plan:
  """The ground plan of a stage: what may stand where.

  Attributes:
    rng: source of all draws.
    shot: camera and subject.
    num_frames: number of poses.
    zones: rectangles (low, high) of x and z that stay free, metres.
    wind: how strongly plants move, 0 to 1.
    next_number: of the next moving object.
  """

  rng: np.random.Generator
  shot: framing.Framing
  num_frames: int
  zones: list
  wind: float
  next_number: int
  taken: list = dataclasses.field(default_factory=list)
  items: list = dataclasses.field(default_factory=list)

  def spot(self, radius: float, near: float, far: float, spread: float = 1.0):
    """Draws a free place in sight, (x, z), or None.

    Args:
      radius: of the disc that is needed, metres.
      near, far: distance along z, metres.
      spread: of the places, in half widths of the picture.
    """
    half = 0.5 * self.shot.width / self.shot.intrinsics[0]
    for _ in range(_TRIES):
      z = near * (far / near) ** self.rng.random()
      x = self.rng.uniform(-1, 1) * spread * half * z
      if self._is_free(np.array([x, z]), radius):
        self.taken.append((np.array([x, z]), radius))
        return x, z
    return None

  def _is_free(self, place, radius):
    if np.hypot(*place) < radius + 0.25 * self.shot.depth:
      return False
    for low, high in self.zones:
      if np.hypot(*(place - np.clip(place, low, high))) < radius:
        return False
      # Nothing stands between the camera and the subject.
      middle = 0.5 * (low + high)
      share = np.clip(place @ middle / (middle @ middle), 0, 1)
      slack = 0.35 * share * (high - low).max()
      if np.hypot(*(place - share * middle)) < radius + slack:
        return False
    return all(np.hypot(*(place - p)) > radius + r for p, r in self.taken)

  def number(self) -> int:
    """Returns the number of a new moving object; at most 250 have their own."""
    self.next_number = min(self.next_number + 1, 250)
    return self.next_number - 1

  def add(
    self, shape: str, size, place, material, yaw: float = 0.0, **more
  ) -> None:
    """Adds a body at rest; `place` is its middle, [3] metres."""
    kind = {"ground": expanses.Ground, "card": expanses.Card}.get(
      shape, primitives.Primitive
    )
    rotation = more.pop("rotation", rotations.about_y(yaw))
    materials = material if isinstance(material, tuple) else (material,)
    self.items.append(
      kind(
        shape,
        np.array([*size, *[0.0] * (3 - len(size))], np.float64),
        np.repeat(rotation[None], self.num_frames, axis=0),
        np.tile(np.asarray(place, np.float64), (self.num_frames, 1)),
        materials,
        **more,
      )
    )

  def sway(self, strength: float) -> np.ndarray:
    """Returns a gusty swing over the clip, [T]."""
    rng, time = self.rng, articulation.times(self.num_frames)
    rates, phases = rng.uniform(0.4, 2.2, 3), rng.uniform(0, 2 * np.pi, 3)
    swing = np.sin(2 * np.pi * rates * time[:, None] + phases) @ [0.5, 0.3, 0.2]
    return strength * (swing + 0.3)

  def leaf_card(
    self, name: str, colour, half, place, yaw: float, strength: float, number
  ) -> None:
    """Adds a card of leaves or grass that bends about its lower border.

    Args:
      name: of a cut-out surface.
      colour: linear light.
      half: half width and half height in metres.
      place: of the middle of its lower border, [3] metres.
      yaw: turn in radians.
      strength: of the wind's shear.
      number: of the moving object; 0 for what stands still.
    """
    picture = library.any_of(self.rng, name)
    moves = number > 0
    stretch = None
    if moves:
      stretch = np.tile(np.eye(3), (self.num_frames, 1, 1))
      stretch[:, 0, 1] = -self.sway(strength)
      stretch[:, 2, 1] = -self.sway(0.7 * strength)
    up = np.tile([0.0, -half[1], 0.0], (self.num_frames, 1))
    rotation = rotations.about_y(yaw)
    # The lower border stays: the middle goes where the shear takes it.
    if moves:
      up = (stretch @ up[..., None])[..., 0]
    size = np.array([half[0], half[1], 0.0])
    thin = surface.Surface(picture, colour, 0.0, relief=0.3, thin=0.6)
    self.items.append(
      expanses.Card(
        "card",
        size,
        np.repeat(rotation[None], self.num_frames, axis=0),
        np.asarray(place) + up @ rotation.T,
        (thin,),
        number,
        stretch=stretch,
        holes=picture.holes,
      )
    )


def tree(plan: Plan, place, tall: float) -> None:
  """Adds a tree whose crown moves in the wind."""
  rng = plan.rng
  x, z = place
  bark = skin(rng, "bark", colours.natural(rng, "bark"), 1.5, relief=0.5)
  thick = 0.025 * tall * rng.uniform(0.8, 1.5)
  trunk = 0.3 * tall
  plan.add("capsule", (thick, trunk), (x, -trunk, z), bark)
  family = "autumn" if rng.random() < 0.12 else "foliage"
  green = colours.natural(rng, family)
  number = plan.number() if plan.wind else 0
  count = int(rng.integers(5, 9))
  for index in range(count):
    turn = 2 * np.pi * (index + rng.random()) / count
    out = 0.17 * tall * rng.uniform(0.2, 1.0)
    half = tall * rng.uniform(0.2, 0.3)
    low = tall * rng.uniform(0.3, 0.52)
    shade = green * rng.uniform(0.75, 1.2)
    plan.leaf_card(
      "spray",
      shade,
      (half, 0.85 * half),
      (x + out * np.cos(turn), -low, z + out * np.sin(turn)),
      rng.uniform(-1.1, 1.1),
      0.1 * plan.wind,
      number,
    )


def bush(plan: Plan, place, tall: float) -> None:
  """Adds a bush of leaves that moves in the wind."""
  rng = plan.rng
  green = colours.natural(rng, "foliage")
  number = plan.number() if plan.wind else 0
  for _ in range(int(rng.integers(3, 5))):
    half = tall * rng.uniform(0.45, 0.65)
    side = rng.uniform(-0.4, 0.4, 2) * tall
    plan.leaf_card(
      "spray",
      green * rng.uniform(0.75, 1.2),
      (1.15 * half, 0.62 * half),
      (place[0] + side[0], 0.08 * tall, place[1] + side[1]),
      rng.uniform(-0.9, 0.9),
      0.16 * plan.wind,
      number,
    )


def tufts(plan: Plan, count: int, tall: float, near: float, far: float) -> None:
  """Adds tufts of grass, one moving object together."""
  rng = plan.rng
  number = plan.number() if plan.wind else 0
  green = colours.any_of(rng, "grass", "grass", "dry grass")
  for _ in range(count):
    place = plan.spot(0.3 * tall, near, far, 1.1)
    if place is None:
      continue
    half = tall * rng.uniform(0.35, 0.65)
    plan.leaf_card(
      "tuft",
      green * rng.uniform(0.8, 1.25),
      (half, half),
      (place[0], 0.02 * tall, place[1]),
      rng.uniform(-0.7, 0.7),
      0.25 * plan.wind,
      number,
    )


def stone(plan: Plan, place, radius: float) -> None:
  """Adds a boulder."""
  rng = plan.rng
  rock = skin(rng, "rock", colours.natural(rng, "stone"), 0.5 / radius)
  size = radius * np.array([1.0, 0.6, 0.8]) * rng.uniform(0.75, 1.2, 3)
  plan.add(
    "ellipsoid",
    size,
    (place[0], -0.35 * size[1], place[1]),
    rock,
    rng.uniform(0, np.pi),
  )


def box_of(plan: Plan, place, radius: float, names, **more) -> None:
  """Adds a crate, a box or a block on the ground."""
  rng = plan.rng
  name = randomness.pick(rng, names)
  colour = colours.of_photographs(rng, (25, 80))
  if name in ("wood", "planks"):
    colour = colours.natural(rng, "wood")
  material = skin(rng, name, colour, 0.7 / radius, relief=0.4, **more)
  size = radius * rng.uniform(0.4, 0.85, 3)
  plan.add(
    "box",
    size,
    (place[0], -size[1], place[1]),
    material,
    rng.uniform(0, np.pi),
  )


def post(plan: Plan, place, tall: float, radius: float, material) -> None:
  """Adds an upright post."""
  plan.add(
    "capsule", (radius, 0.5 * tall), (place[0], -0.5 * tall, place[1]), material
  )
