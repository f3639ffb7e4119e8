"""Rooms and table tops."""

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import cloth, primitives, rotations
from data_pipelines.procedural.stage import props
from data_pipelines.procedural.stage.layouts import weather
from data_pipelines.procedural.surfaces import colours, library, surface

_FLOORS = (
  ("planks", "wood", 0.5, ("on a wooden floor", "on floorboards")),
  ("tiles", "plaster", 0.6, ("on a tiled floor", "on tiles")),
  ("carpet", "", 0.8, ("on a carpet", "on the carpet")),
  ("concrete", "concrete", 0.4, ("on a concrete floor", "in a hall")),
  ("wood", "wood", 0.5, ("on a wooden floor", "in a room")),
)
_TABLES = (
  ("wood", "wood", 2.2, ("on a wooden table", "on a table")),
  ("planks", "wood", 1.6, ("on a wooden table", "on a workbench")),
  ("fabric", "", 2.5, ("on a tablecloth", "on a cloth")),
  ("concrete", "stone", 1.5, ("on a stone table", "on a stone slab")),
  ("tiles", "plaster", 3.0, ("on a kitchen counter", "on tiles")),
)


def _colour(rng, family, lightness=(30, 85)):
  if family:
    return colours.natural(rng, family)
  return colours.of_photographs(rng, lightness)


def _walls(rng, scale):
  """Returns surface of the walls."""
  name = randomness.pick(
    rng, ("plaster", "plaster", "bricks", "fabric", "wood")
  )
  family = {"bricks": "brick", "wood": "wood"}.get(name, "")
  colour = _colour(rng, family, (45, 92))
  if not family and rng.random() < 0.5:
    colour = colours.natural(rng, "plaster")
  return props.skin(rng, name, colour, 0.45 / scale, relief=0.3)


def _room(plan, floor, half, middle, scale):
  """Adds floor, walls and ceiling."""
  rng = plan.rng
  ceiling = props.skin(
    rng, "plaster", colours.natural(rng, "plaster"), 0.3 / scale
  )
  walls = _walls(rng, scale)
  plan.add(
    "room", half, middle, (floor, walls, ceiling), rng.uniform(-0.5, 0.5)
  )


def _on_wall(plan, distance, width, low, scale):
  """Adds pictures, a window or shelves against the back."""
  rng = plan.rng
  for number in range(int(rng.integers(1, 4))):
    name = randomness.pick(rng, ("painting", "window", "books", "door"))
    x = width * (number - 1 + rng.uniform(-0.25, 0.25))
    half = scale * rng.uniform(0.3, 0.6, 2)
    y, glow = -scale * rng.uniform(1.3, 1.8) + low, 0.0
    picture, colour = library.any_of(rng, "painting"), np.ones(3)
    if name == "window":
      picture, glow = library.any_of(rng, "view"), 1.0
      colour = np.array([0.9, 1.0, 1.1]) * rng.uniform(1.0, 2.5)
      half = scale * np.array([rng.uniform(0.5, 1.0), rng.uniform(0.5, 0.8)])
    elif name == "books":
      picture = library.any_of(rng, "books")
      half = scale * np.array([rng.uniform(0.5, 0.9), rng.uniform(0.6, 1.0)])
      y = low - half[1] - 0.05
    elif name == "door":
      picture = library.any_of(rng, "planks")
      colour = _colour(rng, "wood")
      half = scale * np.array([0.45, 1.0])
      y = low - half[1]
    skin = surface.Surface(picture, colour, 0.0, glow=glow, relief=0.3)
    place = np.array([x, y, distance])
    plan.add("card", half, place, skin)
    wood = props.skin(rng, "wood", colours.natural(rng, "wood"), 1.5 / scale)
    rim = 0.045 * scale
    upright, level = (rim, half[1] + rim, rim), (half[0], rim, rim)
    for side in (-1, 1):
      beside = place + np.array([side * (half[0] + rim), 0, 0])
      plan.add("box", upright, beside, wood)
      beside = place + np.array([0, side * (half[1] + rim), 0])
      plan.add("box", level, beside, wood)


def _table(plan, place, scale):
  """Adds a table with four legs."""
  rng = plan.rng
  wood = props.skin(rng, "wood", colours.natural(rng, "wood"), 1.2 / scale)
  half = scale * rng.uniform(0.35, 0.7, 2)
  tall = scale * rng.uniform(0.45, 0.75)
  x, z = place
  plan.add("box", (half[0], 0.02 * scale, half[1]), (x, -tall, z), wood)
  for side in (-1, 1):
    for along in (-1, 1):
      leg = (x + 0.9 * side * half[0], z + 0.9 * along * half[1])
      props.post(plan, leg, tall, 0.03 * scale, wood)
  plan.add(
    "cylinder",
    (0.07 * scale, 0.09 * scale),
    (x + 0.3 * half[0], -tall - 0.1 * scale, z),
    props.skin(rng, "metal", colours.of_photographs(rng), 2.0, gloss=0.05),
  )


def _sofa(plan, place, scale):
  """Adds a sofa or an armchair."""
  rng = plan.rng
  cloth_skin = props.skin(
    rng,
    randomness.pick(rng, ("fabric", "knit", "fur")),
    colours.of_photographs(rng, (18, 75)),
    1.2 / scale,
    relief=0.35,
  )
  x, z = place
  wide = scale * rng.uniform(0.5, 1.0)
  turned = rotations.about_z(0.5 * np.pi)
  plan.add(
    "box", (wide, 0.2 * scale, 0.4 * scale), (x, -0.2 * scale, z), cloth_skin
  )
  plan.add(
    "capsule",
    (0.16 * scale, wide),
    (x, -0.62 * scale, z + 0.35 * scale),
    cloth_skin,
    rotation=turned,
  )
  for side in (-1, 1):
    plan.add(
      "capsule",
      (0.12 * scale, 0.16 * scale),
      (x + side * wide, -0.35 * scale, z),
      cloth_skin,
    )


def _curtain(plan, distance, scale):
  """Adds a curtain that moves in the draught."""
  rng = plan.rng
  half = scale * np.array([rng.uniform(0.35, 0.6), rng.uniform(0.9, 1.2)])
  amplitude = 0.12 * half[0]
  wave = cloth.Wave(
    amplitude,
    rng.uniform(0.3, 0.6),
    rng.uniform(6, 14) * randomness.sign(rng),
    rng.uniform(0.4, 1.0),
    rng.uniform(0, 6),
    1,
  )
  skin = props.skin(
    rng, "fabric", colours.of_photographs(rng, (35, 90)), 1.0, thin=0.6
  )
  place = (rng.uniform(-0.9, 0.9) * distance, -1.02 * half[1], distance)
  frames = plan.num_frames
  plan.items.append(
    primitives.Primitive(
      "cloth",
      np.array([*half, 1.001 * amplitude]),
      np.repeat(np.eye(3)[None], frames, axis=0),
      np.tile(place, (frames, 1)),
      (skin,),
      plan.number(),
      wave,
    )
  )


def indoor(plan: props.Plan):
  """A room with furniture.

  Returns: the light, and words for the place and the light (none).
  """
  rng, depth = plan.rng, plan.shot.depth
  low, high = plan.zones[0]
  name, family, tiles, words = randomness.pick(rng, _FLOORS)
  scale = float(np.clip(depth / 3.0, 0.7, 1.3))
  colour = _colour(rng, family)
  floor = props.skin(
    rng, name, colour, tiles, relief=0.35, gloss=0.02 * (name != "carpet")
  )
  back = max(high[1] + 0.4 * depth, 1.6 * depth) + rng.uniform(0.3, 2.0)
  side = max(abs(low[0]), abs(high[0]), 0.9 * depth) + rng.uniform(0.5, 2.0)
  tall = max(2.4, 1.25 * -plan.shot.stage_from_camera[1, 3])
  tall = max(tall, 5.2 * plan.shot.radius) * rng.uniform(1.0, 1.3)
  half = np.array([1.25 * side, 0.5 * tall, 0.5 * (1.3 * back + 3.0)])
  _room(plan, floor, half, (0, -half[1], 1.3 * back - half[2]), scale)
  _on_wall(plan, 0.99 * back, 0.5 * side, 0.0, scale)
  for _ in range(int(rng.integers(1, 4))):
    build = randomness.pick(rng, (_table, _sofa, _crate, _pot))
    place = plan.spot(0.7 * scale, 1.05 * depth, 0.95 * back, 1.0)
    if place is not None:
      build(plan, place, scale)
  if rng.random() < 0.35:
    _curtain(plan, 0.97 * back, scale)
  light = weather.room_light(rng, depth, colour)
  return light, randomness.pick(rng, words), ""


def _crate(plan, place, scale):
  props.box_of(plan, place, 0.5 * scale, ("wood", "planks", "fabric", "metal"))


def _pot(plan, place, scale):
  """Adds a plant in a pot."""
  rng = plan.rng
  clay = props.skin(rng, "plaster", colours.natural(rng, "brick"), 1.0)
  x, z = place
  tall = scale * rng.uniform(0.15, 0.3)
  plan.add("cylinder", (0.9 * tall, tall), (x, -tall, z), clay)
  green = colours.natural(rng, "foliage")
  number = plan.number() if plan.wind else 0
  for turn in rng.uniform(-1, 1, 3):
    half = scale * rng.uniform(0.3, 0.5)
    plan.leaf_card(
      randomness.pick(rng, ("spray", "tuft")),
      green * rng.uniform(0.8, 1.2),
      (0.8 * half, half),
      (x, -1.9 * tall, z),
      turn,
      0.08 * plan.wind,
      number,
    )


def table_top(plan: props.Plan):
  """Things on a table, a blurred room behind.

  Returns: the light, and words for the place and the light (none).
  """
  rng, shot = plan.rng, plan.shot
  low, high = plan.zones[0]
  depth = shot.depth
  name, family, tiles, words = randomness.pick(rng, _TABLES)
  colour = _colour(rng, family)
  top = props.skin(
    rng, name, colour, tiles, relief=0.3, gloss=0.02 * (name != "fabric")
  )
  far = max(high[1], depth) + rng.uniform(0.15, 0.5)
  wide = max(abs(low[0]), abs(high[0])) + rng.uniform(0.3, 0.8)
  near = -0.3
  plan.add(
    "box",
    (wide, 0.02, 0.5 * (far - near)),
    (0, 0.02, 0.5 * (far + near)),
    top,
  )
  floor = props.skin(rng, "planks", colours.natural(rng, "wood"), 0.5)
  back = far + rng.uniform(1.0, 3.5)
  half = np.array([rng.uniform(2.2, 4), 1.3, 0.5 * (back + 2.5)])
  _room(plan, floor, half, (0, 0.75 - half[1], back - half[2]), 1.0)
  _on_wall(plan, 0.97 * back, 1.2, 0.75, 1.0)
  for _ in range(int(rng.integers(1, 6))):
    radius = depth * rng.uniform(0.04, 0.12)
    place = plan.spot(1.2 * radius, 0.7 * depth, max(far, depth), 0.9)
    if place is not None and abs(place[0]) < wide and place[1] < far:
      _small(plan, place, radius)
  light = weather.room_light(rng, max(depth, 0.5), colour)
  return light, randomness.pick(rng, words), ""


def _small(plan, place, radius):
  """Adds a bowl, a book, a fruit or a vase."""
  rng = plan.rng
  what = randomness.pick(rng, ("book", "fruit", "cup", "block"))
  x, z = place
  colour = colours.of_photographs(rng, (20, 85))
  if what == "fruit":
    skin = props.skin(rng, "skin", colour, 0.4 / radius, gloss=0.03)
    plan.add("ellipsoid", np.full(3, 0.7 * radius), (x, -0.7 * radius, z), skin)
  elif what == "cup":
    skin = props.skin(rng, "metal", colour, 0.5 / radius, gloss=0.05)
    size = (0.55 * radius, 0.65 * radius)
    plan.add("cylinder", size, (x, -0.65 * radius, z), skin)
  else:
    name = "fabric" if what == "book" else "wood"
    skin = props.skin(rng, name, colour, 0.6 / radius, relief=0.3)
    tall = (0.2 if what == "book" else 0.6) * radius
    size = (0.8 * radius, tall, 0.6 * radius)
    plan.add("box", size, (x, -tall, z), skin, rng.uniform(0, np.pi))
