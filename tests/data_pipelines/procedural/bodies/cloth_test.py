"""Cloth against a dense march and finite differences."""

import numpy as np
import pytest

from data_pipelines.procedural.bodies import cloth

_SIZE = np.array([0.9, 0.6, 0.31])


def _wave(along: int) -> cloth.Wave:
  return cloth.Wave(0.3, 1.1, 0.7, 1.2, 0.4, along)


@pytest.mark.parametrize("along", [0, 1])
def test_first_crossing_equals_a_dense_march(along):
  wave, rng = _wave(along), np.random.default_rng(0)
  origin = np.array([[0.2], [-0.1], [-3.0]])
  direction = np.concatenate(
    [rng.uniform(-0.35, 0.3, (1, 500)), rng.uniform(-0.2, 0.25, (1, 500)),
     np.ones((1, 500))]
  )  # fmt: skip
  t = cloth.hit(wave, origin, direction, _SIZE, 0.3)
  steps = np.linspace(2.5, 3.5, 4001)[:, None]
  points = origin[:, None] + steps * direction[:, None]  # [3 steps N]
  inside = (np.abs(points[0]) <= 0.9) & (np.abs(points[1]) <= 0.6)
  gap = points[2] - cloth.height(wave, (points[0], points[1]), _SIZE, 0.3)
  cross = (gap[1:] * gap[:-1] <= 0) & inside[1:] & inside[:-1]
  expected = np.where(cross.any(axis=0), steps[cross.argmax(axis=0), 0], np.inf)
  same = np.isfinite(expected) == np.isfinite(t)
  assert same.mean() > 0.99  # The rest cross within a step of the rim.
  both = np.isfinite(expected) & np.isfinite(t)
  assert both.sum() > 300
  np.testing.assert_allclose(t[both], expected[both], atol=3e-4)
  x, y, z = origin + t[both] * direction[:, both]
  height = cloth.height(wave, (x, y), _SIZE, 0.3)
  np.testing.assert_allclose(z, height, atol=1e-9)


@pytest.mark.parametrize("along", [0, 1])
def test_normal_equals_finite_differences(along):
  wave, rng = _wave(along), np.random.default_rng(1)
  u, v = rng.uniform(-0.6, 0.6, (2, 50))

  def at(du, dv):
    return cloth.height(wave, (u + du, v + dv), _SIZE, 0.8)

  slope_u = (at(1e-6, 0) - at(-1e-6, 0)) / 2e-6
  slope_v = (at(0, 1e-6) - at(0, -1e-6)) / 2e-6
  normal = cloth.normal(wave, (u, v), _SIZE, 0.8)
  np.testing.assert_allclose(-normal[0] / normal[2], slope_u, atol=1e-7)
  np.testing.assert_allclose(-normal[1] / normal[2], slope_v, atol=1e-7)
  np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1)


def test_the_fixed_edge_stands_still():
  v = np.linspace(-0.6, 0.6, 9)
  edge = (np.full(9, -0.9), v)
  for time in (0.0, 0.4, 1.0):
    np.testing.assert_array_equal(
      cloth.height(_wave(0), edge, _SIZE, time), np.zeros(9)
    )
