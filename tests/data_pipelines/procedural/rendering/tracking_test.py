"""Tracks and visibility against projections, rigidity and finer pictures."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.procedural import scenes
from data_pipelines.procedural.rendering import ray_casting, shading, tracking

_KINDS = tuple(scenes.KINDS)


def _tracked(seed, kind, frames=5):
  scene = scenes.make_scene(seed, scenes.SceneOptions(frames, 48, 64, kind))
  renderer = shading.Renderer(scene.world, scene.camera)
  hits = renderer.hits(0)
  tracks, visible = tracking.track(renderer, hits.depth, hits.number)
  return scene, hits, tracks, visible


def _project(scene, tracks, frame):
  """Returns x, y in pixels and z of a frame's points in its own camera."""
  pose = scene.first_from_stage() @ scene.camera.stage_from_camera[frame]
  points = (tracks[frame] - pose[:3, 3]) @ pose[:3, :3]
  fx, fy, cx, cy = scene.camera.intrinsics
  x = points[..., 0] / points[..., 2] * fx + cx
  y = points[..., 1] / points[..., 2] * fy + cy
  return x, y, points[..., 2]


@pytest.mark.parametrize("kind", _KINDS)
def test_the_first_frame_reprojects_onto_its_pixels(kind):
  for seed in range(4):
    scene, _, tracks, visible = _tracked(seed, kind, 2)
    x, y, _ = _project(scene, tracks.astype(np.float32), 0)
    rows, cols = np.mgrid[:48, :64] + 0.5
    assert np.abs(x - cols).max() < 1e-3
    assert np.abs(y - rows).max() < 1e-3
    assert visible[0].all()


@pytest.mark.parametrize("kind", _KINDS)
def test_visibility_agrees_with_a_finer_depth_map(kind):
  """A picture of eight times the size has little left between its pixels."""
  scale = 8
  wrong, total = 0, 0
  for seed in range(3):
    scene, _, tracks, visible = _tracked(seed, kind)
    camera = scene.camera
    fine = dataclasses.replace(
      camera,
      intrinsics=camera.intrinsics * scale,
      height=48 * scale,
      width=64 * scale,
    )
    frame = camera.num_frames - 1
    depth = shading.Renderer(scene.world, fine).hits(frame).depth
    x, y, z = _project(scene, tracks, frame)
    inside = (z > 0) & (x >= 0) & (x < 64) & (y >= 0) & (y < 48)
    assert not visible[frame][~inside].any()
    row = np.floor(y[inside] * scale).astype(int)
    col = np.floor(x[inside] * scale).astype(int)
    seen = depth[row, col] > z[inside] * 0.98
    wrong += (seen != visible[frame][inside]).sum()
    total += inside.sum()
  assert wrong / total < 0.01  # Outlines and slopes within a fine pixel.


def test_points_of_a_rigid_thing_keep_their_distances():
  for seed in range(4):
    scene, hits, tracks, _ = _tracked(seed, "motion")
    moving = np.flatnonzero([p.object_number for p in scene.world.items])
    mine = tracks[:, np.isin(hits.number, moving)]
    still = tracks[:, ~np.isin(hits.number, moving)]
    assert (still == still[:1]).all()
    first, last = mine[0, ::7], mine[-1, ::7]
    apart = np.linalg.norm(first[:, None] - first, axis=-1)
    later = np.linalg.norm(last[:, None] - last, axis=-1)
    np.testing.assert_allclose(apart, later, atol=1e-9)
    assert np.linalg.norm(last - first, axis=-1).mean() > 0.05


def test_tracked_points_stay_on_the_surface_that_is_rendered():
  for kind in ("walker", "flag", "chain"):
    scene, hits, tracks, visible = _tracked(2, kind)
    moving = np.flatnonzero([p.object_number for p in scene.world.items])
    mine = np.isin(hits.number, moving)
    frame = scene.camera.num_frames - 1
    pose = scene.camera.stage_from_camera[0]
    points = tracks[frame][mine] @ pose[:3, :3].T + pose[:3, 3]
    camera = scene.camera
    seen = camera.to_camera(frame, points.T)[:, visible[frame][mine]]
    renderer = shading.Renderer(scene.world, camera)
    depth, number = ray_casting.nearest(
      camera,
      frame,
      seen / seen[2],
      dict(enumerate(scene.world.items)),
      renderer.extent,
    )
    z = seen[2]
    near = np.isin(number, moving) & (np.abs(depth - z) < 2e-3 * z)
    assert near.mean() > 0.97  # The rest graze an outline.
