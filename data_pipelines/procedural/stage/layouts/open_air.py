"""Streets and fields."""

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import expanses, rotations
from data_pipelines.procedural.stage import props
from data_pipelines.procedural.stage.layouts import weather
from data_pipelines.procedural.surfaces import colours, library, surface

_FIELD = 340.0  # Half width of the ground, metres.
_LAKE = 160.0  # Half length of a lake, metres.
# Ground: surface, colour, tiles per metre, words.
_FIELDS = (
  ("grass", "grass", 0.45, ("on a meadow", "in a field", "on the grass")),
  ("grass", "dry grass", 0.4, ("on dry grass", "in a dry field")),
  ("leaves", "autumn", 0.55, ("on fallen leaves", "among autumn leaves")),
  ("earth", "earth", 0.5, ("on bare ground", "on a dirt field")),
  ("sand", "sand", 0.3, ("on sand", "on a beach")),
  ("gravel", "stone", 0.7, ("on gravel", "on a gravel lot")),
)
_STREETS = (
  ("asphalt", "asphalt", 0.6, ("on a street", "on an asphalt road")),
  ("cobbles", "stone", 0.5, ("on a cobbled street", "in an old street")),
  ("paving", "concrete", 0.55, ("on a square", "on a paved square")),
)


def _ground(plan, choices):
  """Adds the ground; returns its albedo and words."""
  rng = plan.rng
  name, family, tiles, words = randomness.pick(rng, choices)
  colour = colours.natural(rng, family)
  skin = props.skin(rng, name, colour, tiles, relief=0.45)
  plan.add("ground", (_FIELD, 0, _FIELD), (0, 0, 0), skin)
  return colour, randomness.pick(rng, words)


def _far_cards(plan, name, family, distances, tall):
  """Adds rows of woods or houses in the distance."""
  rng = plan.rng
  for distance in distances:
    wide = 1.6 * distance
    colour = colours.natural(rng, family) * rng.uniform(0.8, 1.15)
    picture = library.any_of(rng, name)
    skin = surface.Surface(picture, colour, 0.0, relief=0.2)
    high = tall * rng.uniform(0.7, 1.3)
    for side in (-1.0, 0.0, 1.0):
      # Pictures repeat, so the next one is turned over.
      turn = np.pi if side else 0.0
      plan.add(
        "card",
        (0.5 * wide, high, 0.0),
        (side * wide, -0.96 * high, distance),
        skin,
        turn,
        holes=picture.holes,
      )


def _hills(plan):
  """Adds hills at the horizon."""
  rng = plan.rng
  for _ in range(int(rng.integers(1, 4))):
    distance = rng.uniform(140, 420)
    radius = distance * rng.uniform(0.3, 0.7)
    family = randomness.pick(rng, ("foliage", "grass", "stone", "dry grass"))
    skin = props.skin(
      rng, "leaves", 0.8 * colours.natural(rng, family), 0.03, relief=0.5
    )
    tall = distance * rng.uniform(0.05, 0.16)
    plan.add(
      "ellipsoid",
      (radius, tall, 0.4 * radius),
      (rng.uniform(-0.9, 0.9) * distance, 0.02 * tall, distance),
      skin,
    )


def water(plan, near: float) -> None:
  """Adds a lake with waves behind a distance along z."""
  rng = plan.rng
  eye = -plan.shot.stage_from_camera[1, 3]
  count = 6
  lengths = eye * np.exp(rng.uniform(np.log(0.35), np.log(3.0), count))
  angles = rng.normal(rng.uniform(-1.2, 1.2), 0.5, count) + np.pi / 2
  vectors = np.stack([np.cos(angles), np.sin(angles)], -1) * (
    2 * np.pi / lengths[:, None]
  )
  slopes = rng.uniform(0.4, 1.0, count)
  slopes *= 0.075 / slopes.sum()
  swell = expanses.Swell(
    vectors,
    slopes * lengths / (2 * np.pi),
    rng.uniform(0, 2 * np.pi, count),
    rng.uniform(0.4, 1.4, count),
    np.array([0.0, -_LAKE]),
    2.0 * eye + near,
  )
  colour = colours.natural(rng, "water")
  skin = surface.Surface(
    library.picture("plaster", 0), colour, 0.2, relief=0.1, gloss=0.05
  )
  place = np.array([0.0, -0.012 * eye, near + _LAKE])
  frames = plan.num_frames
  plan.items.append(
    expanses.Water(
      "water",
      np.array([_FIELD, 0.0, _LAKE]),
      np.repeat(np.eye(3)[None], frames, axis=0),
      np.tile(place, (frames, 1)),
      (skin,),
      plan.number(),
      swell,
    )
  )


def field(plan: props.Plan):
  """A field, meadow, beach: trees, bushes, stones, hills, perhaps a lake.

  Returns: the light, and words for the place and the light.
  """
  rng, depth = plan.rng, plan.shot.depth
  ground, words = _ground(plan, _FIELDS)
  light, day = weather.daylight(rng, ground)
  if rng.random() < 0.7:
    _hills(plan)
  edge = plan.zones[0][1][1] + 0.4 * depth
  lake = rng.random() < 0.25
  if lake:
    water(plan, edge * rng.uniform(1.0, 1.5))
    words = randomness.pick(rng, ("by a lake", "by the water", "on the shore"))
  if rng.random() < 0.75:
    far = rng.uniform(50, 160, int(rng.integers(1, 3)))
    _far_cards(plan, "treeline", "foliage", np.sort(far), rng.uniform(6, 11))
  last = edge if lake else 45.0
  for _ in range(int(rng.integers(0, 6))):
    place = plan.spot(1.2, 1.1 * depth, max(last, 1.2 * depth), 1.2)
    if place is not None:
      props.tree(plan, place, rng.uniform(3.5, 8.0))
  for _ in range(int(rng.integers(0, 5))):
    place = plan.spot(0.7, 0.8 * depth, max(0.7 * last, depth), 1.1)
    if place is not None:
      props.bush(plan, place, rng.uniform(0.5, 1.6))
  for _ in range(int(rng.integers(0, 5))):
    place = plan.spot(0.4, 0.6 * depth, max(0.6 * last, depth), 1.1)
    if place is not None:
      props.stone(plan, place, rng.uniform(0.1, 0.5))
  if "grass" in words or "field" in words or "meadow" in words:
    props.tufts(plan, int(rng.integers(4, 16)), 0.4, 0.45 * depth, 4 * depth)
  if rng.random() < 0.3:
    _fence(plan, edge * rng.uniform(1.0, 1.6))
  return light, words, day


def _fence(plan, distance):
  """Adds a wooden fence across the view."""
  rng = plan.rng
  wood = props.skin(rng, "wood", colours.natural(rng, "wood"), 1.2)
  tall, step = rng.uniform(0.8, 1.2), rng.uniform(1.6, 2.4)
  for number in range(-6, 7):
    props.post(plan, (number * step, distance), tall, 0.06, wood)
  for level in (0.45, 0.85):
    plan.add("box", (6 * step, 0.05, 0.02), (0, -level * tall, distance), wood)


def _house(plan, side, along, size):
  """Adds a house beside the street."""
  rng = plan.rng
  deep, tall, wide = size
  picture = library.any_of(rng, "facade")
  skin = surface.Surface(
    picture,
    np.ones(3) * rng.uniform(0.8, 1.1),
    1 / rng.uniform(9, 12),
    relief=0.5,
    shift=tuple(rng.random(3)),
  )
  plan.add(
    "box",
    (0.5 * deep, 0.5 * tall, 0.5 * wide),
    (side, -0.5 * tall, along),
    skin,
  )
  roof = props.skin(rng, "bricks", colours.natural(rng, "brick"), 0.4)
  plan.add(
    "box",
    (0.54 * deep, 0.12, 0.52 * wide),
    (side, -tall - 0.1, along),
    roof,
  )


def _row(plan, side, start):
  """Adds a row of houses along a side of the street."""
  rng, along = plan.rng, start
  while along < 130:
    wide = rng.uniform(8, 20)
    tall = rng.uniform(6, 17)
    middle = np.sign(side) * (abs(side) + 5 + rng.uniform(-0.4, 0.4))
    _house(plan, middle, along + 0.5 * wide, (10.0, tall, wide))
    along += wide + (rng.uniform(2, 9) if rng.random() < 0.25 else 0.0)


def street(plan: props.Plan):
  """A street or a square between houses.

  Returns: the light, and words for the place and the light.
  """
  rng, shot = plan.rng, plan.shot
  ground, words = _ground(plan, _STREETS)
  light, day = weather.daylight(rng, ground)
  zone = np.abs(np.stack(plan.zones[0])[:, 0]).max()
  half = max(zone + 1.0, rng.uniform(4, 8))
  walk = props.skin(rng, "paving", colours.natural(rng, "concrete"), 0.6)
  for side in (-1.0, 1.0):
    plan.add("box", (2.0, 0.08, 150), (side * (half + 2.0), -0.04, 120), walk)
    if rng.random() < 0.85:
      _row(plan, side * (half + 4.0), rng.uniform(-6, 4))
  distance = max(zone, shot.depth) + rng.uniform(25, 90)
  if rng.random() < 0.4:
    tall = rng.uniform(7, 16)
    _house(plan, rng.uniform(-4, 4), distance, (30.0, tall, 8.0))
  else:
    _far_cards(plan, "skyline", "plaster", [distance + 60], 16)
  metal = props.skin(rng, "metal", colours.natural(rng, "metal"), 1.0)
  for number in range(int(rng.integers(0, 5))):
    side = randomness.sign(rng) * (half + 0.4)
    props.post(plan, (side, 4 + 11 * number), rng.uniform(3, 5), 0.06, metal)
  for number in range(int(rng.integers(0, 4))):
    side = randomness.sign(rng) * (half + rng.uniform(1, 3))
    along = shot.depth * 0.8 + 9 * number + rng.uniform(0, 4)
    props.tree(plan, (side, along), rng.uniform(4, 7))
  for number in range(int(rng.integers(0, 4))):
    side = randomness.sign(rng) * (half - 0.9)
    along = 0.9 * shot.depth + 6.5 * number + rng.uniform(0, 2)
    if abs(side) > zone + 0.2:
      _parked(plan, (side, along))
  return light, words, day


def _parked(plan, place):
  """Adds a car that stands at the kerb."""
  rng = plan.rng
  colour = colours.of_photographs(rng, (12, 85))
  paint = props.skin(rng, "metal", colour, 0.5, relief=0.1, gloss=0.08)
  glass = props.skin(rng, "metal", np.full(3, 0.02), 0.5, gloss=0.1)
  tyre = props.skin(rng, "asphalt", np.full(3, 0.03), 2.0)
  x, z = place
  plan.add("box", (0.85, 0.33, 2.0), (x, -0.62, z), paint)
  plan.add("box", (0.72, 0.26, 1.05), (x, -1.18, z + 0.1), glass)
  plan.add("box", (0.74, 0.03, 1.0), (x, -1.46, z + 0.1), paint)
  turned = rotations.about_z(0.5 * np.pi)
  for side in (-0.78, 0.78):
    for along in (-1.25, 1.25):
      plan.add(
        "cylinder",
        (0.33, 0.1),
        (x + side, -0.33, z + along),
        tyre,
        rotation=turned,
      )
