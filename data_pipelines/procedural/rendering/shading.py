"""Pictures and depth of a scene from any camera, shaded group by group."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from data_pipelines.procedural.bodies import primitives, textures
from data_pipelines.procedural.rendering import cameras, ray_casting

# Four samples of an edge pixel on a turned grid, in pixels from its centre.
_SAMPLES = np.array(
  [[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]]
)


@dataclasses.dataclass(frozen=True)
class Light:
  """Strength of the light from everywhere and of that from the sun.

  Attributes:
    sky, sun: of red, green and blue, [3 1]; or [1 1], white.
  """

  sky: Float32[np.ndarray, "#3 1"]
  sun: Float32[np.ndarray, "#3 1"]


DAYLIGHT = Light(
  np.full((1, 1), 0.52, np.float32), np.full((1, 1), 0.60, np.float32)
)


@dataclasses.dataclass(frozen=True)
class World:
  """Everything that can be seen, and the light.

  Attributes:
    items: primitives with their pose in every frame.
    sun: where the light comes from that casts shadows.
    light: how strong it is.
  """

  items: tuple[primitives.Primitive, ...]
  sun: ray_casting.Sun
  light: Light = DAYLIGHT

  @property
  def moving(self) -> dict[int, primitives.Primitive]:
    """Returns the primitives of moving objects by number."""
    return {k: p for k, p in enumerate(self.items) if p.object_number}

  @property
  def static(self) -> dict[int, primitives.Primitive]:
    """Returns the primitives that never move by number."""
    return {k: p for k, p in enumerate(self.items) if not p.object_number}


@dataclasses.dataclass(frozen=True)
class Surface:
  """Shaded hits in pixel order: stage points, light by sky, light by sun."""

  points: Float[np.ndarray, "3 HW"]
  sky: Float32[np.ndarray, "3 HW"]
  sun: Float32[np.ndarray, "3 HW"]
  shadow: Bool[np.ndarray, "HW"]

  @classmethod
  def empty(cls, size: int) -> "Surface":
    """Returns a surface of `size` pixels, all black."""
    black = np.zeros((3, size), np.float32)
    return cls(np.zeros((3, size)), black, black.copy(), np.zeros(size, bool))

  def light(self) -> Float32[np.ndarray, "3 HW"]:
    """Returns the colour that reaches the camera, 1 is white."""
    return self.sky + self.sun * ~self.shadow

  def copy(self) -> "Surface":
    """Returns a copy that can be written to."""
    return Surface(
      self.points.copy(), self.sky.copy(), self.sun.copy(), self.shadow.copy()
    )


@dataclasses.dataclass(frozen=True)
class Video:
  """Renderings: frames [T H W 3] uint8, z-depth [T H W], numbers [T H W]."""

  frames: UInt8[np.ndarray, "T H W 3"]
  depth: Float[np.ndarray, "T H W"]
  number: Int[np.ndarray, "T H W"]


def _room_albedo(item, point):
  """Returns albedo and glow of a room: floor, then walls and ceiling."""
  ground, wall = item.materials
  on_ground = np.abs(point[1] - item.size[1]) < 1e-6
  colour = np.empty(point.shape, np.float32)
  colour[:, on_ground] = textures.albedo(ground, point[:, on_ground])
  colour[:, ~on_ground] = textures.albedo(wall, point[:, ~on_ground])
  return colour, np.where(on_ground, np.float32(0), np.float32(wall.glow))


def _shade(world, frame, item, points, surface, pixels):
  """Writes one primitive's light at its pixels."""
  local = item.local_points(frame, points)
  normal = item.rotation[frame] @ item.local_normal(frame, local)
  if item.shape == "room":
    colour, glow = _room_albedo(item, local)
  else:
    material = item.material_points(frame, local)
    colour, glow = textures.albedo(item.materials[0], material), np.float32(0)
  towards = world.sun.direction @ normal
  if item.shape == "cloth":
    towards = np.abs(towards)  # Thin cloth is lit through.
  facing = np.maximum(towards, 0.0).astype(np.float32)
  upward = (0.82 - 0.18 * normal[1]).astype(np.float32)
  sky, sun = world.light.sky, world.light.sun
  surface.sky[:, pixels] = colour * (sky * upward * (1 - glow) + glow)
  surface.sun[:, pixels] = colour * (sun * facing * (1 - glow))


class Renderer:
  """Renders a world from one camera; static parts are computed once."""

  def __init__(self, world: World, camera: cameras.Camera):
    """Prepares extents, and the static part if the camera does not move."""
    self.world, self.camera = world, camera
    self.extent = cameras.extents(camera, list(world.items))
    self.windows = cameras.pixel_windows(
      self.extent, camera.height, camera.width
    )
    self.light_extent = world.sun.extents(list(world.items), camera.num_frames)
    self._still = None
    if camera.is_static:
      hits = ray_casting.cast(camera, 0, world.static, self.windows)
      surface = Surface.empty(hits.depth.size)
      self._fill(0, self._sight(hits), surface, world.static, world.static)
      self._still = (hits, surface)

  def _fill(self, frame, sight, surface, items, casters):
    """Shades the rays that see `items`, with the shadows of `casters`.

    Args:
      frame: index of the frame.
      sight: camera-space directions [3 N], depth [N] and number [N].
      surface: receives the light.
      items: what is shaded, by number.
      casters: what throws shadows, by number.
    """
    directions, depth, number = sight
    rays = self.camera.stage_directions(frame, directions)
    origin = self.camera.origin(frame)
    present = np.bincount(number, minlength=len(self.world.items))
    fresh = np.zeros(len(self.world.items), bool)
    for key, item in items.items():
      if not present[key]:
        continue
      fresh[key] = True
      pixels = np.flatnonzero(number == key)
      points = origin + depth[pixels] * rays[:, pixels]
      surface.points[:, pixels] = points
      surface.shadow[pixels] = False
      _shade(self.world, frame, item, points, surface, pixels)
    self._darken(frame, surface, number, fresh, casters)

  def _darken(self, frame, surface, number, fresh, casters):
    """Adds shadows where the sun shines on primitives marked as fresh."""
    lit = fresh[number] & ~surface.shadow & (surface.sun.max(axis=0) > 0)
    pixels = np.flatnonzero(lit)
    if pixels.size:
      surface.shadow[pixels] = ray_casting.shadowed(
        self.world.sun,
        frame,
        (surface.points[:, pixels], number[pixels]),
        casters,
        self.light_extent,
      )

  def _sight(self, hits):
    """Returns directions, depth and number of every pixel."""
    return self.camera.directions, hits.depth.ravel(), hits.number.ravel()

  def _smooth(self, frame, hits, light):
    """Replaces the light of pixels on outlines by the mean of four samples."""
    number = hits.number
    edge = np.zeros(number.shape, bool)
    across = number[:, 1:] != number[:, :-1]
    down = number[1:] != number[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    pixels = np.flatnonzero(edge)
    if not pixels.size:
      return
    offset = np.zeros((3, 1, 4))
    offset[:2, 0] = (_SAMPLES / self.camera.intrinsics[:2]).T
    rays = self.camera.directions[:, pixels, None] + offset
    rays = rays.reshape(3, -1)
    everything = dict(enumerate(self.world.items))
    depth, number = ray_casting.nearest(
      self.camera, frame, rays, everything, self.extent
    )
    surface = Surface.empty(depth.size)
    sight = (rays, depth, number)
    self._fill(frame, sight, surface, everything, everything)
    light[:, pixels] = surface.light().reshape(3, -1, 4).mean(axis=-1)

  def hits(self, frame: int) -> ray_casting.Hits:
    """Returns what every pixel of a frame sees."""
    if self._still is None:
      everything = dict(enumerate(self.world.items))
      return ray_casting.cast(self.camera, frame, everything, self.windows)
    return ray_casting.cast(
      self.camera, frame, self.world.moving, self.windows, self._still[0]
    )

  def frame(
    self, frame: int
  ) -> tuple[UInt8[np.ndarray, "H W 3"], ray_casting.Hits]:
    """Returns the picture of a frame and what its pixels see."""
    hits = self.hits(frame)
    everything = dict(enumerate(self.world.items))
    moving = self.world.moving
    if self._still is None:
      surface = Surface.empty(hits.depth.size)
      self._fill(frame, self._sight(hits), surface, everything, everything)
    else:
      surface = self._still[1].copy()
      still = np.ones(len(self.world.items), bool)
      still[list(moving)] = False
      self._darken(frame, surface, hits.number.ravel(), still, moving)
      self._fill(frame, self._sight(hits), surface, moving, everything)
    light = surface.light()
    self._smooth(frame, hits, light)
    shape = (3, self.camera.height, self.camera.width)
    picture = np.clip(light * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(
      np.moveaxis(picture.reshape(shape), 0, -1)
    ), hits

  def video(self, num_frames: int | None = None) -> Video:
    """Returns the first frames, all of them by default."""
    frames, depth, number = [], [], []
    for index in range(num_frames or self.camera.num_frames):
      picture, hits = self.frame(index)
      frames.append(picture)
      depth.append(hits.depth)
      number.append(hits.number)
    return Video(np.stack(frames), np.stack(depth), np.stack(number))
