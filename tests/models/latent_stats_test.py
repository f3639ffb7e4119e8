import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models import latent_stats


def _random(channels=4, seed=0):
  rng = np.random.default_rng(seed)
  return latent_stats.LatentStats(
    mean=rng.normal(size=channels).astype(np.float32),
    std=rng.uniform(0.5, 2.0, channels).astype(np.float32),
  )


def test_normalise_and_back():
  stats = _random()
  latents = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 4)))
  normal = stats.normalise(latents)
  np.testing.assert_allclose(
    normal, (latents - stats.mean) / stats.std, rtol=1e-6
  )
  # Two roundings of float32.
  np.testing.assert_allclose(stats.denormalise(normal), latents, atol=1e-6)


def test_chain_is_one_after_the_other():
  base, trajectory = _random(seed=1), _random(seed=2)
  latents = jnp.asarray(np.random.default_rng(3).normal(size=(5, 4)))
  both = latent_stats.chain(base, trajectory).normalise(latents)
  steps = trajectory.normalise(base.normalise(latents))
  np.testing.assert_allclose(both, steps, atol=1e-5)


def test_published_values():
  chained = latent_stats.chain(latent_stats.WAN, latent_stats.TRAJECTORY)
  assert latent_stats.WAN.mean.shape == (16,)
  # Channel 0 by hand: -0.7571 + 2.8184 * 0.93366 and 2.8184 * 0.4107.
  np.testing.assert_allclose(chained.mean[0], 1.8743405, rtol=1e-5)
  np.testing.assert_allclose(chained.std[0], 1.1575169, rtol=1e-5)


def test_log_variance_follows_the_scale():
  stats = _random()
  logvar = jnp.zeros((3, 4))
  spread = np.exp(0.5 * np.asarray(stats.normalise_logvar(logvar)))
  np.testing.assert_allclose(spread, np.tile(1 / stats.std, (3, 1)), rtol=1e-5)


def test_moments_equal_numpy():
  rng = np.random.default_rng(0)
  mean = rng.normal(3.0, 2.0, size=(6, 5, 4)).astype(np.float32)
  moments = latent_stats.LatentMoments(4)
  for part in np.split(mean, [1, 4]):
    moments.add(part)
  flat = mean.reshape(-1, 4).astype(np.float64)
  stats = moments.stats()
  np.testing.assert_allclose(stats.mean, flat.mean(0), rtol=1e-6)
  np.testing.assert_allclose(stats.std, flat.std(0), rtol=1e-6)


def test_moments_count_the_posterior_variance():
  mean = np.random.default_rng(0).normal(size=(8, 2))
  moments = latent_stats.LatentMoments(2)
  moments.add(mean, np.full((8, 2), np.log(3.0)))
  np.testing.assert_allclose(
    moments.stats().std, np.sqrt(mean.var(0) + 3.0), rtol=1e-6
  )


def test_json_round_trip_and_damage():
  stats = _random()
  again = latent_stats.LatentStats.from_json(stats.to_json())
  np.testing.assert_array_equal(again.mean, stats.mean)
  with pytest.raises(ValueError, match="positive"):
    latent_stats.LatentStats.from_json({"mean": [0.0], "std": [0.0]})
  with pytest.raises(ValueError, match="finite"):
    latent_stats.LatentStats.from_json({"mean": [float("nan")], "std": [1.0]})
  with pytest.raises(ValueError, match="one mean and one"):
    latent_stats.LatentStats.from_json({"mean": [0.0, 1.0], "std": [1.0]})
  with pytest.raises(ValueError, match="no latents"):
    latent_stats.LatentMoments(2).stats()
