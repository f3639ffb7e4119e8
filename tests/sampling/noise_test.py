"""Noise that a seed and a number fix, whatever the batch."""

import numpy as np

from more4d_jax.sampling import noise


def test_noise_depends_on_seed_and_number_alone():
  keys = [(5, 0), (5, 1), (5, 2)]
  together = noise.latents(keys, "strag", (5, 32, 48))
  alone = noise.latents([(5, 2)], "strag", (5, 32, 48))
  np.testing.assert_array_equal(alone[0], together[2])
  assert together.shape == (3, 2, 4, 6, 16)
  assert np.abs(together[0] - together[1]).max() > 1
  assert abs(float(together.mean())) < 0.1  # 4 sigma of 4608 values.
  other = noise.latents([(5, 2)], "vism", (5, 32, 48))
  assert np.abs(other - alone).max() > 1
