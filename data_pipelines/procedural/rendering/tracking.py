"""Exact tracks and visibility of every pixel of the first frame."""

import numpy as np
from jaxtyping import Bool, Float, Int

from data_pipelines.procedural.rendering import ray_casting, shading


def _material_points(renderer, depth, number):
  """Returns stage points [3 N] of frame 0 and pixels by moving primitive."""
  camera = renderer.camera
  rays = camera.stage_directions(0, camera.directions)
  points = camera.origin(0) + depth * rays
  groups = {}
  for key, item in renderer.world.moving.items():
    pixels = np.flatnonzero(number == key)
    if pixels.size:
      local = item.local_points(0, points[:, pixels])
      groups[key] = (pixels, item.material_points(0, local))
  return points, groups


def track(
  renderer: shading.Renderer,
  depth: Float[np.ndarray, "H W"],
  number: Int[np.ndarray, "H W"],
) -> tuple[Float[np.ndarray, "T H W 3"], Bool[np.ndarray, "T H W"]]:
  """Follows the surface point that every pixel of frame 0 sees.

  Args:
    renderer: of the scene's own camera.
    depth: z-depth of frame 0 in metres, infinite where nothing is seen.
    number: of the primitive that each pixel of frame 0 sees.
  Returns: positions in metres in the first camera's coordinates, and whether
    each point is inside the picture of its frame and nothing hides it. Where
    nothing is seen there is no point: NaN, never visible.
  """
  camera, world = renderer.camera, renderer.world
  depth = np.where(np.isfinite(depth), depth, np.nan)
  points, groups = _material_points(renderer, depth.ravel(), number.ravel())
  shape = (camera.num_frames, camera.height, camera.width)
  first = camera.directions * depth.ravel()
  tracks = np.repeat(first[None], camera.num_frames, axis=0)  # [T 3 N]
  visible = np.tile(np.isfinite(depth.ravel()), (camera.num_frames, 1))
  moved = np.zeros(points.shape[1], bool)
  for pixels, _ in groups.values():
    moved[pixels] = True
  everything = dict(enumerate(world.items))
  for frame in range(1, camera.num_frames):
    now = points.copy()
    for key, (pixels, material) in groups.items():
      at = world.items[key].stage_points(frame, material)
      now[:, pixels] = at
      tracks[frame][:, pixels] = camera.to_camera(0, at)
    seen = camera.to_camera(frame, now)
    # A static point before a static camera is hidden by moving things only.
    cases = [(np.arange(points.shape[1]), everything)]
    if camera.is_static:
      cases = [
        (np.flatnonzero(~moved), world.moving),
        (np.flatnonzero(moved), everything),
      ]
    for pixels, blockers in cases:
      visible[frame, pixels] = _visible(
        renderer, frame, seen[:, pixels], blockers
      )
  tracks = np.moveaxis(tracks.reshape(shape[0], 3, *shape[1:]), 1, -1)
  return tracks, visible.reshape(shape)


def _visible(renderer, frame, points, blockers):
  """Whether camera-space points are in the picture and not hidden."""
  camera = renderer.camera
  fx, fy, cx, cy = camera.intrinsics
  result = points[2] > 1e-3
  z = np.where(result, points[2], 1.0)
  x, y = points[0] / z * fx + cx, points[1] / z * fy + cy
  result &= (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
  inside = np.flatnonzero(result)
  if inside.size:
    result[inside] = ~ray_casting.hidden(
      camera, frame, points[:, inside], blockers, renderer.extent
    )
  return result
