"""The definition of correct, against complex numbers and differences."""

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.kernels.norm_rotary import reference
from tests.kernels.norm_rotary import comparison


def test_rows_are_normalised_and_pairs_turned():
  heads, width = 2, 6
  arrays = comparison.draw((2, 3, heads, width), "float32")
  found = reference.norm_rotary(
    *arrays[:3], num_heads=heads, eps=comparison.EPS
  )
  x, scale, angles = (np.asarray(a, np.float64) for a in arrays[:3])
  for sample, token in np.ndindex(2, 3):
    row = x[sample, token]
    row = scale * row / np.sqrt(np.mean(row**2) + comparison.EPS)
    for head, pair in np.ndindex(heads, width // 2):
      first = head * width + pair
      value = row[first] + 1j * row[first + width // 2]
      value *= angles[token, pair] + 1j * angles[token, pair + width // 2]
      got = found[sample, token, head, [pair, pair + width // 2]]
      # Float32 rounding of values near 1.
      np.testing.assert_allclose(got, [value.real, value.imag], atol=2e-6)


def test_gradients_are_those_of_differences():
  with jax.enable_x64(True):
    arrays = comparison.draw((1, 2, 2, 4), "float32", given=True)
    arrays = [jnp.asarray(np.asarray(a), jnp.float64) for a in arrays]
    x, scale, angles, square, d_out = arrays

    def loss(x, scale, square):
      out = reference.norm_rotary(
        x, scale, angles, square, num_heads=2, eps=comparison.EPS
      )
      return jnp.sum(out * d_out)

    own = (x, scale, square)
    for place, gradient in enumerate(jax.grad(loss, (0, 1, 2))(*own)):
      for index in np.ndindex(gradient.shape):
        step = jnp.zeros_like(own[place]).at[index].set(1e-6)
        sides = [
          loss(*own[:place], own[place] + s * step, *own[place + 1 :])
          for s in (1, -1)
        ]
        # Second-order differences in float64 lose half of the digits.
        difference = float(sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(gradient[index], difference, atol=1e-7)


def test_a_given_mean_of_squares_of_the_row_changes_nothing():
  x, scale, angles, _, _ = comparison.draw((2, 5, 3, 8), "float32")
  options = {"num_heads": 3, "eps": comparison.EPS}
  square = reference.mean_square(x)
  np.testing.assert_array_equal(
    reference.norm_rotary(x, scale, angles, square, **options),
    reference.norm_rotary(x, scale, angles, **options),
  )
