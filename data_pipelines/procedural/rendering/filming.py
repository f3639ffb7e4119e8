"""Films of a stage: light on photograph-like surfaces, seen by a real camera.

Pictures of version 3 of the scenes. What each pixel sees is found as in
`shading`; its light is computed for the whole picture at once.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipelines.procedural import randomness
from data_pipelines.procedural.rendering import (
  cameras,
  lights,
  occlusion,
  photography,
  ray_casting,
  shading,
  shadow_maps,
)
from data_pipelines.procedural.surfaces import surface

_FAR = 1e4  # Metres; stands for the sky where arithmetic needs a number.


@dataclasses.dataclass(frozen=True)
class Stage(shading.World):
  """Everything that can be seen, its lights and the camera that sees it.

  Attributes:
    lighting: all lights.
    region: where shadows fall.
    optics: lens, shutter and sensor.
    seed: of the sensor's noise.
  """

  lighting: lights.Lighting | None = None
  region: shadow_maps.Region | None = None
  optics: photography.Optics | None = None
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class _Sight:
  """What the pixels see, in pixel order; the sky leaves everything zero."""

  points: Float32[np.ndarray, "3 N"]
  normals: Float32[np.ndarray, "3 N"]
  albedo: Float32[np.ndarray, "N 3"]
  traits: Float32[np.ndarray, "3 N"]  # Gloss, glow, thin.

  @classmethod
  def empty(cls, size: int) -> "_Sight":
    """Returns a sight of nothing."""
    return cls(
      np.zeros((3, size), np.float32),
      np.zeros((3, size), np.float32),
      np.zeros((size, 3), np.float32),
      np.zeros((3, size), np.float32),
    )

  def copy(self) -> "_Sight":
    """Returns a copy that can be written to."""
    return _Sight(*(getattr(self, f.name).copy() for f in _SIGHT_FIELDS))


_SIGHT_FIELDS = dataclasses.fields(_Sight)


def _parts(item, normal):
  """Yields pixels and surface of a body's parts; a room has three."""
  if item.shape != "room":
    yield slice(None), item.materials[0]
    return
  ground, wall, ceiling = item.materials
  for chosen, material in (
    (normal[1] < -0.5, ground),
    (np.abs(normal[1]) <= 0.5, wall),
    (normal[1] > 0.5, ceiling),
  ):
    yield np.flatnonzero(chosen), material


class Renderer:
  """Films a stage with one camera; has the interface of `shading.Renderer`."""

  def __init__(self, world: Stage, camera: cameras.Camera):
    """Prepares extents, the shadows of what stands still, and the exposure."""
    self.world, self.camera = world, camera
    self.extent = cameras.extents(camera, list(world.items))
    self.windows = cameras.pixel_windows(
      self.extent, camera.height, camera.width
    )
    self._shadows = shadow_maps.ShadowMap(
      world.sun, world.region, world.items, camera.num_frames
    )
    directions = camera.directions
    # 1 / length of each ray, whose z is 1.
    self._shrink = (1 / np.sqrt((directions**2).sum(axis=0))).astype(np.float32)
    self._still = self._still_sight = None
    if camera.is_static:
      self._still = ray_casting.cast(camera, 0, world.static, self.windows)
      self._still_sight = _Sight.empty(self._still.depth.size)
      self._look(0, self._still, world.static, self._still_sight)
    self._gain = None

  def hits(self, frame: int) -> ray_casting.Hits:
    """Returns what every pixel of a frame sees."""
    if self._still is None:
      everything = dict(enumerate(self.world.items))
      return ray_casting.cast(self.camera, frame, everything, self.windows)
    return ray_casting.cast(
      self.camera, frame, self.world.moving, self.windows, self._still
    )

  def _look(self, frame, hits, items, sight):
    """Fills in what the pixels see of `items`."""
    camera = self.camera
    number = hits.number.ravel().astype(np.int16)
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(
      number[order], np.arange(len(self.world.items) + 1)
    )
    rays = camera.stage_directions(frame, camera.directions)
    depth, origin = hits.depth.ravel(), camera.origin(frame)
    shrink = self._shrink
    small = (depth / camera.intrinsics[0]).astype(np.float32)
    for key, item in items.items():
      pixels = order[starts[key] : starts[key + 1]]
      if not pixels.size:
        continue
      towards = rays[:, pixels]
      points = origin + depth[pixels] * towards
      local = item.local_points(frame, points)
      normal = item.local_normal(frame, local)
      material = item.material_points(frame, local)
      turn = item.rotation[frame].astype(np.float32)
      normal = np.asarray(normal, np.float32)
      seen_from = turn.T @ towards.astype(np.float32)
      facing = np.abs((seen_from * normal).sum(axis=0)) * shrink[pixels]
      wide = small[pixels] / np.sqrt(np.maximum(facing, 0.15))
      sight.points[:, pixels] = points
      for part, skin in _parts(item, normal):
        seen = surface.look(
          skin, item, material[:, part], normal[:, part], wide[part]
        )
        mine = pixels[part]
        bent = normal[:, part] + seen.bump
        away = (seen_from[:, part] * bent).sum(axis=0)
        length = np.sqrt((bent * bent).sum(axis=0))
        bent /= np.copysign(length, -away)
        sight.normals[:, mine] = turn @ bent
        sight.albedo[mine] = seen.albedo
        sight.traits[:, mine] = [[skin.gloss], [skin.glow], [skin.thin]]

  def _sight(self, frame, hits):
    if self._still_sight is None:
      sight = _Sight.empty(hits.depth.size)
      self._look(frame, hits, dict(enumerate(self.world.items)), sight)
    else:
      sight = self._still_sight.copy()
      self._look(frame, hits, self.world.moving, sight)
    return sight

  def _light(self, frame, hits, sight):
    """Returns the light that reaches the camera, [HW 3] linear."""
    camera, lighting = self.camera, self.world.lighting
    normals = sight.normals
    gloss, glow, thin = sight.traits
    hidden = occlusion.visible_sky(
      sight.points.reshape(3, camera.height, -1),
      normals.reshape(3, camera.height, -1),
      hits.depth,
      camera.intrinsics[0],
    ).ravel()
    key = lighting.key.astype(np.float32)
    facing = key @ normals
    facing = np.maximum(facing, 0) + thin * np.maximum(-facing, 0)
    facing *= self._shadows.lit(frame, sight.points, normals)
    up = (0.5 - 0.5 * normals[1])[:, None]
    above, below = (
      np.float32(colour) for colour in (lighting.above, lighting.below)
    )
    total = (below + up * (above - below)) * hidden[:, None]
    total += facing[:, None] * np.float32(lighting.key_colour)
    for lamp in lighting.lamps:
      away = np.float32(lamp.place)[:, None] - sight.points
      square = (away * away).sum(axis=0)
      cosine = (away * normals).sum(axis=0) / np.sqrt(square)
      strength = np.maximum(cosine, 0) * (0.4 + 0.6 * hidden) / (square + 0.1)
      total += strength[:, None] * np.float32(lamp.colour)
    total = total * (1 - glow)[:, None] + glow[:, None]
    light = sight.albedo * total
    rays = camera.stage_directions(frame, camera.directions)
    rays = rays.astype(np.float32) * self._shrink
    shiny = np.flatnonzero(gloss)
    if shiny.size:
      light[shiny] += self._mirrored(rays, facing, hidden, sight, shiny)
    return self._behind_air(light, rays, hits)

  def _mirrored(self, rays, facing, hidden, sight, pixels):
    """Returns the light that glossy pixels mirror, [N 3]."""
    lighting = self.world.lighting
    towards, normals = rays[:, pixels], sight.normals[:, pixels]
    gloss = sight.traits[0, pixels]
    cosine = (towards * normals).sum(axis=0)
    mirror = towards - 2 * cosine * normals
    fresnel = gloss + (1 - gloss) * gloss * 2 * np.clip(1 + cosine, 0, 1) ** 4
    if lighting.sky is None:
      up = (0.5 - 0.5 * mirror[1])[:, None]
      seen = lighting.below + up * (lighting.above - lighting.below)
    else:
      seen = lighting.sky.plain(mirror)
    sharp = np.clip(lighting.key @ mirror, 0, 1) ** 60
    lit = np.minimum(facing[pixels] * 4, 1) * sharp
    seen = seen * hidden[pixels, None] + 6 * lit[:, None] * lighting.key_colour
    return (fresnel[:, None] * seen).astype(np.float32)

  def _behind_air(self, light, rays, hits):
    """Adds haze, and the sky where nothing is seen."""
    lighting, depth = self.world.lighting, hits.depth.ravel()
    if lighting.clear < _FAR:
      air = np.exp(-np.minimum(depth, _FAR) / lighting.clear)[:, None]
      haze = np.float32(lighting.haze)
      light = haze + air.astype(np.float32) * (light - haze)
    if lighting.sky is not None:
      open_air = np.flatnonzero(hits.number.ravel() < 0)
      light[open_air] = lighting.sky.light(rays[:, open_air])
    return light

  def _motion(self, frame, hits, sight):
    """Returns each pixel's way to the next frame, [2 H W] in pixels."""
    camera, world = self.camera, self.world
    after = frame + 1 if frame + 1 < camera.num_frames else frame - 1
    points = sight.points
    number = hits.number.ravel()
    moved = points
    if world.moving:
      moved = points.copy()
      present = np.bincount(number + 1, minlength=len(world.items) + 1)[1:]
      for key, item in world.moving.items():
        if not present[key]:
          continue
        pixels = np.flatnonzero(number == key)
        local = item.local_points(frame, points[:, pixels])
        material = item.material_points(frame, local)
        moved[:, pixels] = item.stage_points(after, material)
    if camera.is_static and not world.moving:
      return np.zeros((2, *hits.depth.shape), np.float32)
    seen = camera.to_camera(after, moved)
    fx, fy, cx, cy = camera.intrinsics
    z = np.maximum(seen[2], 1e-2)
    x, y = seen[0] / z * fx + cx, seen[1] / z * fy + cy
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    way = np.stack([x - columns.ravel(), y - rows.ravel()])
    way[:, (number < 0) | (seen[2] < 1e-2)] = 0.0
    way = way * (1 if after > frame else -1) * world.optics.shutter
    longest = 0.12 * camera.width
    return (
      np.clip(way, -longest, longest)
      .astype(np.float32)
      .reshape(2, *hits.depth.shape)
    )

  def frame(
    self, frame: int
  ) -> tuple[UInt8[np.ndarray, "H W 3"], ray_casting.Hits]:
    """Returns the picture of a frame and what its pixels see."""
    optics = self.world.optics
    hits = self.hits(frame)
    sight = self._sight(frame, hits)
    light = self._light(frame, hits, sight)
    light = light.reshape(*hits.depth.shape, 3)
    if self._gain is None:
      self._gain = photography.gain(optics, light)
    light = np.minimum(light * np.float32(self._gain), 12)
    light = smoothed(light, hits.number)
    light = photography.defocus(optics, light, hits.depth)
    if self.camera.num_frames > 1:
      motion = self._motion(frame, hits, sight)
      light = photography.smear(light, motion)
    rng = randomness.generator(self.world.seed, f"noise {frame}")
    return photography.develop(optics, light, rng), hits

  def video(self, num_frames: int | None = None) -> shading.Video:
    """Returns the first frames, all of them by default."""
    frames, depth, number = [], [], []
    for index in range(num_frames or self.camera.num_frames):
      picture, hits = self.frame(index)
      frames.append(picture)
      depth.append(hits.depth)
      number.append(hits.number)
    return shading.Video(np.stack(frames), np.stack(depth), np.stack(number))


def smoothed(
  light: Float32[np.ndarray, "H W 3"], number: np.ndarray
) -> Float32[np.ndarray, "H W 3"]:
  """Blurs outlines along themselves, so that they show no stairs."""
  edge = np.zeros(number.shape, bool)
  edge[:, 1:] |= number[:, 1:] != number[:, :-1]
  edge[:, :-1] |= number[:, 1:] != number[:, :-1]
  edge[1:] |= number[1:] != number[:-1]
  edge[:-1] |= number[1:] != number[:-1]
  edge[[0, -1]] = edge[:, [0, -1]] = False
  pixels = np.flatnonzero(edge)
  if not pixels.size:
    return light
  height, width = number.shape
  flat = light.reshape(-1, 3)
  level = np.sqrt(flat[:, 1])
  right = level[pixels + 1] - level[pixels - 1]
  down = level[pixels + width] - level[pixels - width]
  length = np.hypot(right, down) + 1e-4
  x, y = pixels % width + 0.5, pixels // width + 0.5
  total = 2 * flat[pixels]
  for step in (-1.4, -0.7, 0.7, 1.4):
    column = np.clip(x - step * down / length, 0, width - 1).astype(np.int32)
    row = np.clip(y + step * right / length, 0, height - 1).astype(np.int32)
    total += flat.take(row * width + column, axis=0)
  result = flat.copy()
  result[pixels] = total / 6
  return result.reshape(light.shape)
