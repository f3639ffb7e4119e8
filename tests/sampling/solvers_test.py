"""The Euler sampler against closed forms and the original's numbers."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.sampling import guidance, solvers


def test_shift_is_applied_once():
  sigmas = solvers.euler_sigmas(4, 3.0)
  plain = np.array([1.0, 0.75, 0.5, 0.25, 0.0])
  np.testing.assert_allclose(sigmas, 3 * plain / (1 + 2 * plain), rtol=1e-6)


def test_compat_schedule_is_the_originals():
  sigmas = solvers.euler_sigmas(50, 5.0, compat=True)
  assert sigmas.shape == (51,)
  known = [1, 0.99587163, 0.99160462]
  np.testing.assert_allclose(sigmas[:3], known, atol=2e-7)
  known = [0.1928036, 0.11481946, 0.02441406, 0]
  # The end of the grid divides small float32 numbers.
  np.testing.assert_allclose(sigmas[-4:], known, atol=2e-6)


def test_no_steps_is_an_error():
  with pytest.raises(ValueError, match="at least 1"):
    solvers.euler_sigmas(0, 5.0)


def test_straight_paths_are_followed_exactly():
  rng = np.random.default_rng(0)
  noise, data = jnp.asarray(rng.standard_normal((2, 3, 4, 5)), jnp.float32)
  sigmas = solvers.euler_sigmas(7, 5.0)
  found = solvers.euler(lambda x, s: noise - data, noise, sigmas)
  np.testing.assert_allclose(found, data, atol=2e-6)


def test_matches_a_loop_on_a_curved_field():
  noise = jnp.array([[1.0, -2.0]])
  sigmas = solvers.euler_sigmas(9, 5.0)

  def velocity(x, sigma):
    return x * sigma[:, None] - 0.3

  found = solvers.euler(velocity, noise, sigmas)
  x = np.asarray(noise, np.float64)
  for now, after in itertools.pairwise(sigmas):
    x = x + (float(after) - float(now)) * (x * float(now) - 0.3)
  np.testing.assert_allclose(found, x, rtol=1e-5)


def test_gaussian_data_is_reached_as_steps_grow():
  # Data N(m, s^2): the velocity is known, and the flow maps noise to
  # m + s * noise.
  mean, std = 1.5, 0.5

  def velocity(x, sigma):
    sigma = sigma[:, None]
    variance = ((1 - sigma) * std) ** 2 + sigma**2
    score = -(x - (1 - sigma) * mean) / variance
    # eps = -sigma * score; data = (x - sigma * eps) / (1 - sigma).
    data = mean + std**2 * (1 - sigma) * -score
    return -sigma * score - data

  noise = jnp.linspace(-2, 2, 9)[:, None]
  goal = mean + std * noise
  gaps = []
  for steps in (10, 40, 160):
    found = solvers.euler(velocity, noise, solvers.euler_sigmas(steps, 1.0))
    gaps.append(float(jnp.abs(found - goal).max()))
  assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]  # First order.


def test_guidance_on_one_doubled_batch():
  latents = jnp.asarray([[1.0], [2.0]])
  sigma = jnp.asarray([0.5, 0.25])
  context = guidance.pair(jnp.zeros((2, 1)), jnp.asarray([[1.0], [10.0]]))
  calls = []

  def velocity(x, s):
    calls.append(x.shape)
    return x * s[:, None] + context

  found = guidance.guided(velocity, 6.0)(latents, sigma)
  np.testing.assert_allclose(found, [[0.5 + 6], [0.5 + 60]])
  assert calls == [(4, 1)]


def test_combine_is_float32():
  velocity = jnp.asarray([[1.0], [1.0078125]], jnp.bfloat16)
  found = guidance.combine(velocity, 6.0)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, [[1 + 6 * 0.0078125]])
