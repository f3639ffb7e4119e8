"""Scenes of version 3: actors in places, lit and filmed like photographs."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.rendering import (
  cameras,
  filming,
  photography,
  ray_casting,
  shadow_maps,
)
from data_pipelines.procedural.scene import FilmedScene, SceneOptions
from data_pipelines.procedural.stage import camera_work, framing, props
from data_pipelines.procedural.stage.layouts import (
  indoors,
  occluders,
  open_air,
)
from data_pipelines.procedural.subjects import cast, drafts, phrases
from data_pipelines.procedural.surfaces import backdrops, dressing

_ATTEMPTS = 10
MOVING = (0.05, 0.6)
"""Share of the picture that moves by itself, from and to."""
_PROBE = (24, 32)  # Rows and columns of the picture that measures it.


@dataclasses.dataclass(frozen=True)
class _Layout:
  """A place, how it is photographed, and whether it is in the open."""

  build: object
  style: framing.Style
  open_air: bool


_LAYOUTS = {
  "field": _Layout(
    open_air.field, framing.Style((0.25, 3.2), (1.2, 45.0)), True
  ),
  "street": _Layout(
    open_air.street, framing.Style((0.3, 4.0), (1.8, 45.0)), True
  ),
  "indoor": _Layout(
    indoors.indoor, framing.Style((0.3, 2.1), (1.0, 7.0)), False
  ),
  "table": _Layout(
    indoors.table_top, framing.Style((0.06, 0.7), (0.3, 1.6), 50.0), False
  ),
}


def _moving(actors, first):
  """Numbers the moving bodies of a draft from `first` on."""
  largest = first - 1
  numbered = []
  for item in actors:
    number = item.object_number + first - 1 if item.object_number else 0
    largest = max(largest, number)
    numbered.append(dataclasses.replace(item, object_number=number))
  return tuple(numbered), largest + 1


def _zone(shot, draft):
  centre = shot.subject[[0, 2]]
  half = np.minimum(np.array(draft.half_zone), 3.0 * shot.depth)
  return centre - half, centre + half


@dataclasses.dataclass(frozen=True)
class _Draw:
  """One attempt at a scene.

  Attributes:
    seed: of the scene.
    motion_seed: of what neither picture nor caption tells.
    attempt: number of the attempt, which every generator's name carries.
    options: size and kind.
    role: of the main actor.
    layout: where it is.
  """

  seed: int
  motion_seed: int
  attempt: int
  options: SceneOptions
  role: cast.Role
  layout: _Layout

  def rng(self, purpose: str) -> np.random.Generator:
    """Returns the generator of a purpose."""
    return randomness.generator(self.seed, f"3 {purpose} {self.attempt}")

  def draws(self, actor: int) -> drafts.Draws:
    """Returns the sources of an actor."""
    hidden = f"3 hidden {actor} {self.attempt}"
    return drafts.Draws(
      self.rng(f"look {actor}"),
      self.rng(f"words {actor}"),
      randomness.generator(self.motion_seed, hidden),
    )


def _actors(draw: _Draw, shot: framing.Framing):
  """Returns the actors' bodies, their sentence, zones and the next number."""
  frames = draw.options.frames
  rng = draw.rng("cast")
  roles = [(draw.role, shot)]
  if draw.role.with_others and rng.random() < 0.45:
    for _ in range(int(rng.integers(1, 3))):
      roles.append(_other(rng, draw, shot))
  items, zones, sentences, number = (), [], [], 1
  for order, (role, view) in enumerate(roles):
    draft = role.build(draw.draws(order), view, frames)
    zone = _zone(view, draft)
    if order and _overlap(zone, zones):
      continue
    wardrobe = dressing.Wardrobe(
      draw.rng(f"dress {order}"),
      role.surfaces,
      view.radius,
      backdrops.surfaces(draw.options.textures),
    )
    numbered, number = _moving(draft.items, number)
    items += wardrobe.dress(numbered)
    zones.append(zone)
    sentences.append(draft.sentence)
  sentence = sentences[0]
  if len(sentences) > 1:
    sentence = phrases.joined(sentence, sentences[1], rng)
  return items, sentence, zones, number


def _other(rng, draw, shot):
  """Draws another role, beside or behind the main one."""
  name = randomness.pick(rng, cast.COMPANIONS[draw.role.scale])
  role = cast.ROLES[name]
  radius = rng.uniform(*role.radius)
  half = 0.5 * shot.width / shot.intrinsics[0]
  far = shot.subject[2] * rng.uniform(0.9, 2.4)
  side = rng.uniform(-0.95, 0.95) * half * far
  place = np.array([side, -role.rise * radius, far])
  return role, shot.around(place, radius)


def _overlap(zone, zones):
  low, high = zone
  return any(
    (low < other_high).all() and (other_low < high).all()
    for other_low, other_high in zones
  )


def _optics(rng, shot, fps) -> photography.Optics:
  """Draws lens and sensor."""
  close = shot.depth < 1.6
  wide = rng.uniform(0.006, 0.022) if close else rng.uniform(0.0, 0.008)
  if rng.random() < 0.25:
    wide = 0.0
  warm = rng.normal(0, 0.05)
  noisy = rng.random() < 0.25
  return photography.Optics(
    exposure=0.24 * np.exp(rng.normal(0, 0.25)),
    tint=np.array([1 + warm, 1.0, 1 - warm]),
    focus=shot.depth,
    blur=wide,
    shutter=min(rng.uniform(0.1, 0.6) * fps / 24, 0.6),
    softness=rng.uniform(0.42, 0.7),
    vignette=rng.uniform(0.0, 0.45),
    contrast=rng.uniform(1.05, 1.4),
    saturation=rng.uniform(0.9, 1.2),
    shot_noise=rng.uniform(0.015, 0.03) if noisy else rng.uniform(0.003, 0.012),
    read_noise=rng.uniform(0.001, 0.004),
    quality=int(rng.integers(72, 96)),
  )


def _region(shot, zones, softness) -> shadow_maps.Region:
  """Returns where shadows fall: around subject and camera."""
  half = 1.0 * shot.depth + 3.0 * shot.radius
  centre = shot.subject * [0.8, 0.3, 1.0]
  return shadow_maps.Region(centre, half, softness)


def _attempt(draw: _Draw) -> FilmedScene:
  """Makes the scene of one attempt."""
  options, role, layout = draw.options, draw.role, draw.layout
  frames = options.frames
  rng = draw.rng("stage")
  size = (options.height, options.width)
  radius = rng.uniform(*role.radius)
  if layout.build is indoors.table_top:
    radius *= rng.uniform(0.16, 0.28) / max(role.radius[1], 0.2) ** 0.5
  area = role.area
  if rng.random() < 0.22:  # A close-up.
    area = (1.6 * area[1], min(3.2 * area[1], 0.42))
  shot = framing.make(rng, size, layout.style, radius, area, role.rise)
  actors, sentence, zones, number = _actors(draw, shot)
  wind = rng.uniform(0.3, 1.6) if layout.open_air else rng.uniform(0, 0.5)
  plan = props.Plan(
    draw.rng("place"), shot, frames, zones, wind, next_number=number
  )
  lighting, place, light = layout.build(plan)
  if rng.random() < 0.24:
    occluders.add(plan, layout.open_air)
  if options.photos is not None:
    backdrops.add(plan, options.photos, layout.open_air)
  surroundings = tuple(plan.items)
  if options.textures is not None:
    surroundings = backdrops.redressed(
      draw.rng("textures"), surroundings, options.textures
    )
  seconds = float(draw.rng("time").uniform(*role.seconds))
  fps = max(frames - 1, 1) / seconds
  work = camera_work.film(draw.rng("camera"), shot, frames, seconds)
  camera = cameras.Camera(shot.intrinsics, *size, work.poses)
  world = filming.Stage(
    items=(*surroundings, *actors),
    sun=ray_casting.Sun(lighting.key),
    lighting=lighting,
    region=_region(shot, zones, lighting.softness),
    optics=_optics(draw.rng("optics"), shot, fps),
    seed=draw.seed,
  )
  caption = phrases.caption(
    draw.rng("wording"), sentence, place, light, work.words
  )
  return FilmedScene(draw.seed, role.name, caption, world, camera, shot, fps)


def moving_share(scene: FilmedScene) -> float:
  """Returns which share of the first picture moves by itself."""
  camera = scene.camera
  rows, columns = _PROBE
  scale = np.array([columns / camera.width, rows / camera.height])
  intrinsics = camera.intrinsics * np.tile(scale, 2)
  small = cameras.Camera(
    intrinsics, rows, columns, camera.stage_from_camera[:1]
  )
  items = list(scene.world.items)
  extent = cameras.extents(small, [_first_pose(item) for item in items])
  windows = cameras.pixel_windows(extent, rows, columns)
  hits = ray_casting.cast(small, 0, dict(enumerate(items)), windows)
  moves = np.array([bool(item.object_number) for item in items] + [False])
  return float(moves[hits.number].mean())


def _first_pose(item):
  stretch = None if item.stretch is None else item.stretch[:1]
  return dataclasses.replace(
    item,
    rotation=item.rotation[:1],
    translation=item.translation[:1],
    stretch=stretch,
  )


def make(
  seed: int, options: SceneOptions, motion_seed: int | None = None
) -> FilmedScene:
  """Simulates a scene of version 3; see `scenes.make_scene`.

  Scenes in which too little or too much moves are drawn again, at most
  `_ATTEMPTS` times; the last is kept.
  """
  chooser = randomness.generator(seed, "kind")
  name = options.kind
  if name == "all":
    names, shares = zip(*cast.MIXTURE.items(), strict=True)
    name = randomness.pick(chooser, names, shares)
  role = cast.ROLES[name]
  low, high = MOVING
  for attempt in range(_ATTEMPTS):
    rng = randomness.generator(seed, f"layout {attempt}")
    layout = _LAYOUTS[randomness.pick(rng, role.layouts)]
    scene = _attempt(
      _Draw(
        seed,
        seed if motion_seed is None else motion_seed,
        attempt,
        options,
        role,
        layout,
      )
    )
    if low <= moving_share(scene) <= high:
      break
  return scene
