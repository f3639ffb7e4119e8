import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models import flow_matching


@pytest.mark.parametrize(
  ("shift", "sigma", "expected"),
  [
    (5.0, 0.5, 0.8333333),
    (5.0, 0.999, 0.9997998),
    (5.0, 0.001, 0.0049801),
    (3.0, 0.5, 0.75),
  ],
)
def test_shift_gives_the_specified_numbers(shift, sigma, expected):
  out = flow_matching.shift_sigma(jnp.float32(sigma), shift)
  assert out == pytest.approx(expected, abs=1e-7)


def test_grid_runs_from_noise_to_almost_clean():
  config = flow_matching.FlowConfig()
  sigma = flow_matching.grid_sigma(jnp.arange(1000), config)
  assert sigma[0] == 1.0
  assert sigma[-1] == pytest.approx(0.0049801, abs=1e-7)
  assert np.all(np.diff(sigma) < 0)


def test_velocity_is_the_derivative_of_noising():
  rng = np.random.default_rng(0)
  latents, noise = jnp.asarray(rng.normal(size=(2, 3, 2, 2, 2, 4)), "f4")
  sigma, step = jnp.array([0.2, 0.7, 0.5]), 0.25
  later = flow_matching.add_noise(latents, noise, sigma + step)
  earlier = flow_matching.add_noise(latents, noise, sigma - step)
  np.testing.assert_allclose(
    (later - earlier) / (2 * step),
    flow_matching.velocity_target(latents, noise),
    atol=2e-6,
  )


@pytest.mark.parametrize("weighting", flow_matching.WEIGHTINGS)
def test_loss_equals_a_loop(weighting):
  rng = np.random.default_rng(0)
  prediction = 3 * rng.normal(size=(2, 3, 2, 2, 4)).astype(np.float32)
  target = rng.normal(size=prediction.shape).astype(np.float32)
  sigma = np.array([0.3, 0.8], np.float32)
  config = flow_matching.FlowConfig(
    weighting=weighting, error_limit=4.0, motion_ratio=0.25
  )
  weight = {
    "sigma_sqrt": 1 / sigma**2,
    "cosmap": 2 / (np.pi * (1 - 2 * sigma + 2 * sigma**2)),
  }.get(weighting, np.ones(2))
  total, counted, motion = np.zeros(2), np.zeros(2), [[], []]
  for place in np.ndindex(prediction.shape):
    error = float(prediction[place]) - float(target[place])
    counted[place[0]] += 1
    if abs(error) <= 4.0:
      total[place[0]] += weight[place[0]] * error**2
    if place[1] > 0:
      before = (place[0], place[1] - 1, *place[2:])
      change = error - prediction[before] + target[before]
      motion[place[0]].append(change**2)
  expected = 0.75 * total / counted + 0.25 * np.mean(motion, axis=1)
  loss = flow_matching.velocity_loss(
    *map(jnp.asarray, (prediction, target, sigma)), config
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("sampling", flow_matching.SAMPLINGS)
def test_drawn_levels_follow_their_density(sampling):
  config = flow_matching.FlowConfig(sampling=sampling)
  draws = 20_000
  sigma = flow_matching.sample_sigmas(jax.random.key(0), draws, config)
  grid = np.asarray(flow_matching.grid_sigma(jnp.arange(1000), config))
  assert np.all(np.min(np.abs(np.asarray(sigma[:50, None]) - grid), 1) < 1e-6)
  # Undo the shift: the place in the grid, 0 at the noisy end.
  plain = np.asarray(sigma / (5 - 4 * sigma))
  place = 1 - plain
  rng = np.random.default_rng(1)
  uniform = rng.uniform(size=draws)
  expected = {
    "logit_normal": 1 / (1 + np.exp(-rng.normal(size=draws))),
    "mode": 1
    - uniform
    - 1.29 * (np.cos(np.pi * uniform / 2) ** 2 - 1 + uniform),
  }.get(sampling, uniform)
  quantiles = np.linspace(0.05, 0.95, 10)
  # Standard error of a quantile of 20,000 draws is below 0.005.
  np.testing.assert_allclose(
    np.quantile(place, quantiles), np.quantile(expected, quantiles), atol=0.02
  )


def test_stratified_draws_have_one_level_in_each_part():
  config = flow_matching.FlowConfig(shift=1.0, sampling="stratified")
  sigma = flow_matching.sample_sigmas(jax.random.key(3), 10, config)
  parts = np.floor((1 - np.asarray(sigma)) * 10 + 1e-4)
  assert sorted(parts.tolist()) == list(range(10))


@pytest.mark.parametrize(
  ("field", "words"),
  [
    ("sampling", "sampling is 'snr': choose one of uniform"),
    ("weighting", "weighting is 'snr': choose one of none"),
  ],
)
def test_unknown_names_are_errors(field, words):
  with pytest.raises(ValueError, match=words):
    flow_matching.FlowConfig(**{field: "snr"})


def test_an_unknown_weighting_of_a_loss_is_an_error():
  with pytest.raises(ValueError, match="flow weighting must be one of"):
    flow_matching.loss_weight(jnp.ones(2), "snr")
