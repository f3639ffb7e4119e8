"""Ray intersections against sphere tracing and implicit functions."""

import numpy as np
import pytest

from data_pipelines.procedural.bodies import shapes


def _rays(count: int, seed: int = 0):
  rng = np.random.default_rng(seed)
  origin = rng.normal(size=(3, count))
  origin = 4 * origin / np.linalg.norm(origin, axis=0)
  target = rng.uniform(-1.2, 1.2, (3, count))
  direction = target - origin
  return origin, direction / np.linalg.norm(direction, axis=0)


def _box_distance(p, size):
  q = np.abs(p) - size[:, None]
  outside = np.linalg.norm(np.maximum(q, 0), axis=0)
  return outside + np.minimum(q.max(axis=0), 0)


def _capsule_distance(p, size):
  p = p.copy()
  p[1] -= np.clip(p[1], -size[1], size[1])
  return np.linalg.norm(p, axis=0) - size[0]


@pytest.mark.parametrize(
  ("shape", "distance", "size"),
  [
    ("box", _box_distance, [0.5, 0.9, 0.3]),
    ("capsule", _capsule_distance, [0.4, 0.8, 0.0]),
    ("ellipsoid", None, [0.7, 0.7, 0.7]),
  ],
)
def test_hits_equal_sphere_tracing(shape, distance, size):
  size = np.array(size)
  distance = distance or (lambda p, s: np.linalg.norm(p, axis=0) - s[0])
  origin, direction = _rays(4000)
  t, closest = np.zeros(4000), np.full(4000, np.inf)
  for _ in range(600):
    gap = distance(origin + t * direction, size)
    closest = np.minimum(closest, gap)
    t = np.minimum(t + np.maximum(gap, 0), 10)
  found = shapes.HIT[shape](origin, direction, size)
  # Rays that pass within a millimetre of the rim are left to rounding.
  sure = (closest < 1e-9) | (closest > 1e-3)
  np.testing.assert_array_equal(np.isfinite(found[sure]), closest[sure] < 1e-9)
  both = np.isfinite(found) & (closest < 1e-9)
  assert both.sum() > 400
  np.testing.assert_allclose(found[both], t[both], atol=1e-4)


def test_ellipsoid_hit_is_the_first_root_with_the_gradient_as_normal():
  size = np.array([0.4, 1.1, 0.7])
  origin, direction = _rays(2000, 1)
  t = shapes.hit_ellipsoid(origin, direction, size)
  hit = np.isfinite(t)
  point = origin[:, hit] + t[hit] * direction[:, hit]
  value = ((point / size[:, None]) ** 2).sum(axis=0)
  np.testing.assert_allclose(value, 1, atol=1e-12)
  normal = shapes.normal_ellipsoid(point, size)
  assert ((normal * direction[:, hit]).sum(axis=0) < 0).all()
  for axis in range(3):
    step = np.zeros((3, 1))
    step[axis] = 1e-6
    high = (((point + step) / size[:, None]) ** 2).sum(axis=0)
    low = (((point - step) / size[:, None]) ** 2).sum(axis=0)
    slope = (high - low) / 2e-6
    along = (normal / normal[axis]) * slope
    norm = np.linalg.norm(along, axis=0)
    np.testing.assert_allclose(np.abs(normal[axis]) * norm, np.abs(slope))


def test_rays_along_an_axis_of_a_box_and_a_capsule():
  origin = np.array([[0.1], [-5.0], [0.1]])
  direction = np.array([[0.0], [1.0], [0.0]])
  size = np.array([0.5, 1.0, 0.5])
  assert shapes.hit_box(origin, direction, size)[0] == pytest.approx(4.0)
  cap = np.sqrt(0.25 - 0.02)
  assert shapes.hit_capsule(origin, direction, size)[0] == pytest.approx(
    4.0 - cap
  )


def test_room_is_left_through_the_nearest_wall():
  direction = np.array([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0], [0.2, -1.0, 1.0]])
  t = shapes.hit_room(np.zeros((3, 1)), direction, np.array([2.0, 3.0, 4.0]))
  np.testing.assert_allclose(t, [2.0, 4.0, 1.5])


def test_bounds_hold_the_surface():
  for shape in ("ellipsoid", "box", "capsule"):
    size = np.array([0.5, 0.8, 0.3])
    points, radius = shapes.bounds(shape, size)
    origin, direction = _rays(2000, 2)
    t = shapes.HIT[shape](origin, direction, size)
    hit = np.isfinite(t)
    surface = origin[:, hit] + t[hit] * direction[:, hit]
    for axis in range(3):
      assert surface[axis].max() <= points[:, axis].max() + radius + 1e-9
      assert surface[axis].min() >= points[:, axis].min() - radius - 1e-9


def test_rays_meet_a_cylinder_where_samples_of_the_ray_enter_it():
  size = np.array([0.6, 0.25, 0.0])
  rng = np.random.default_rng(2)
  origin = rng.normal(size=(3, 300))
  origin *= 2 / np.linalg.norm(origin, axis=0)
  direction = rng.uniform(-0.5, 0.5, (3, 300)) - origin
  t = shapes.hit_cylinder(origin, direction, size)
  steps = np.linspace(0, 2, 20001)
  points = origin[..., None] + direction[..., None] * steps
  inside = np.hypot(points[0], points[2]) <= size[0]
  inside &= np.abs(points[1]) <= size[1]
  np.testing.assert_array_equal(np.isfinite(t), inside.any(axis=1))
  hits = np.isfinite(t)
  entered = steps[inside.argmax(axis=1)]
  np.testing.assert_allclose(t[hits], entered[hits], atol=1.01e-4)
  found = origin[:, hits] + t[hits] * direction[:, hits]
  normal = shapes.normal_cylinder(found, size)
  assert np.linalg.norm(normal, axis=0) == pytest.approx(1)
  outside = found + 1e-6 * normal
  beyond = np.hypot(outside[0], outside[2]) > size[0]
  assert (beyond | (np.abs(outside[1]) > size[1])).all()
  assert ((normal * direction[:, hits]).sum(axis=0) <= 0).all()
  below = np.array([[0.1, 2.0], [5.0, 5.0], [0.0, 0.0]])
  straight = np.array([[0.0, 0.0], [-1.0, -1.0], [0.0, 0.0]])
  np.testing.assert_allclose(
    shapes.hit_cylinder(below, straight, size), [4.75, np.inf]
  )
