"""Blobs against their definition, sampled rays and tangents."""

import numpy as np

from data_pipelines.procedural import scenes
from data_pipelines.procedural.bodies import star_shapes


def _bumps():
  rng = np.random.default_rng(4)
  directions = rng.normal(size=(3, 3))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  return star_shapes.Bumps(
    directions,
    np.array([0.12, -0.1, 0.08]),
    np.array([3.0, 2.5, 3.4]),
    rng.uniform(0, 6, 3),
    np.array([1.0, -0.5, 0.7]),
  )


def _radius(bumps, unit, time):
  """The definition, wave by wave."""
  total = np.ones(unit.shape[1])
  for k in range(3):
    phase = bumps.phases[k] - 2 * np.pi * bumps.cycles[k] * time
    total += bumps.amplitudes[k] * np.sin(
      bumps.waves[k] * (bumps.directions[k] @ unit) + phase
    )
  return 0.5 * total


def test_rays_meet_a_blob_on_its_surface_and_first_there():
  bumps, time = _bumps(), 0.3
  size = np.array([0.5, 0.5 * bumps.largest, 0.0])
  rng = np.random.default_rng(1)
  origin = rng.normal(size=(3, 400))
  origin *= 2 / np.linalg.norm(origin, axis=0)
  direction = rng.uniform(-0.35, 0.35, (3, 400)) - origin
  t = star_shapes.hit(bumps, origin, direction, size, time)
  steps = np.linspace(0, 1.6, 3000)
  points = origin[..., None] + direction[..., None] * steps
  distance = np.linalg.norm(points, axis=0)
  unit = (points / distance).reshape(3, -1)
  inside = distance <= _radius(bumps, unit, time).reshape(distance.shape)
  hits = inside.any(axis=1)
  # A ray that grazes a bump may pass between two steps of the march.
  assert (np.isfinite(t) != hits).mean() < 0.02
  both = hits & np.isfinite(t)
  late = np.abs(t - steps[inside.argmax(axis=1)])[both] > 2e-3
  assert both.sum() > 200 and late.mean() < 0.01
  found = origin[:, both] + t[both] * direction[:, both]
  length = np.linalg.norm(found, axis=0)
  np.testing.assert_allclose(
    length, _radius(bumps, found / length, time), atol=1e-6
  )
  normal = star_shapes.normal(bumps, found, size, time)
  # The surface does not rise along its tangents.
  for axis in range(3):
    tangent = np.cross(normal.T, np.eye(3)[axis]).T
    moved = found + 1e-5 * tangent
    out = np.linalg.norm(moved, axis=0)
    gap = out - _radius(bumps, moved / out, time)
    assert np.abs(gap).max() < 1e-8


def test_points_of_a_blob_move_along_their_direction():
  scene = scenes.make_scene(3, scenes.SceneOptions(5, 24, 32, "blob", 2))
  (item,) = (item for item in scene.world.items if item.object_number)
  rng = np.random.default_rng(0)
  local = rng.normal(size=(3, 50))
  material = item.material_points(0, local)
  centre = item.translation[0][:, None]
  for t in range(5):
    away = item.stage_points(t, material) - centre
    lengths = np.linalg.norm(away, axis=0)
    np.testing.assert_allclose(
      away / lengths, local / np.linalg.norm(local, axis=0), atol=1e-12
    )
    assert lengths.max() <= item.size[1] and np.ptp(lengths) > 0
    again = item.material_points(t, away)
    np.testing.assert_allclose(again, material, atol=1e-12)
