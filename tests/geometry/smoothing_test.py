"""Smoothing against its own definition and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from more4d_jax.geometry import smoothing


def _motion(curve):
  """One point, the curve in x, its negative in y, nothing in z."""
  curve = np.asarray(curve, np.float32)
  return np.stack([curve, -curve, 0 * curve], -1)[None, :, None, None]


def _smooth(curve, weight):
  matrix = smoothing.smoother(len(curve), weight)
  found = smoothing.smooth(jnp.asarray(_motion(curve)), matrix)
  np.testing.assert_allclose(found[..., 1], -found[..., 0], atol=1e-6)
  np.testing.assert_array_equal(found[..., 2], 0)
  return np.asarray(found[0, :, 0, 0, 0])


def test_it_is_the_minimiser_of_its_cost():
  curve = np.random.default_rng(0).standard_normal(9)

  def cost(later):
    x = np.concatenate([curve[:1], later])
    return np.sum((x - curve) ** 2) + 2.5 * np.sum(np.diff(x, n=3) ** 2)

  best = scipy.optimize.minimize(cost, curve[1:], tol=1e-12).x
  # float32 on one side, a numerical gradient on the other.
  np.testing.assert_allclose(_smooth(curve, 2.5)[1:], best, atol=1e-5)


def test_quadratic_motion_and_its_start_stay():
  time = np.arange(9.0)
  curve = 3 + 0.5 * time - 0.1 * time**2
  np.testing.assert_allclose(_smooth(curve, 100.0), curve, atol=1e-4)


def test_trembling_goes_and_slow_waves_stay():
  time = np.arange(40)
  trembling = _smooth((-1.0) ** time - 1, 1.0)
  assert np.abs(np.diff(trembling[12:28])).max() < 2 / 60
  slow = np.sin(2 * np.pi * time / 9)
  found = _smooth(slow, 1.0)
  assert found[8:32].max() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(("frames", "weight"), [(9, 0.0), (3, 5.0), (1, 5.0)])
def test_nothing_to_smooth(frames, weight):
  curve = np.random.default_rng(1).standard_normal(frames).astype(np.float32)
  np.testing.assert_array_equal(_smooth(curve, weight), curve)
