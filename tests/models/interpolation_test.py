import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models import interpolation


def _cubic(x):
  """Keys' kernel with a = -0.75, by its definition."""
  x = abs(x)
  if x <= 1:
    return 1.25 * x**3 - 2.25 * x**2 + 1
  if x < 2:
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
  return 0.0


@pytest.mark.parametrize(("size", "out"), [(5, 9), (9, 4), (3, 3), (1, 4)])
def test_cubic_matrix_by_its_definition(size, out):
  scale = (out + 0.1) / size
  signal = np.random.default_rng(0).normal(size=size)
  expected = np.zeros(out)
  for i in range(out):
    place = (i + 0.5) / scale - 0.5
    for j in range(-4, size + 6):  # Beyond the edges, the edge repeats.
      value = signal[min(max(j, 0), size - 1)]
      expected[i] += _cubic(place - j) * value
  ours = interpolation.cubic_matrix(size, out, scale) @ signal
  np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize(("size", "out"), [(5, 9), (9, 4), (2, 2), (1, 3)])
def test_linear_matrix_keeps_the_ends(size, out):
  signal = np.random.default_rng(0).normal(size=size)
  expected = np.interp(np.linspace(0, size - 1, out), np.arange(size), signal)
  ours = interpolation.linear_matrix(size, out) @ signal
  np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_resizing_rows_and_columns_apart():
  image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 3)))
  ours = interpolation.resize_linear(image, 7, 5)
  rows = interpolation.linear_matrix(4, 7)
  columns = interpolation.linear_matrix(6, 5)
  for b in range(2):
    for c in range(3):
      expected = rows @ np.asarray(image[b, ..., c]) @ columns.T
      np.testing.assert_allclose(ours[b, ..., c], expected, atol=1e-5)
  flat = jnp.full((1, 4, 6, 1), 0.3)
  # The weights of every output sum to one.
  np.testing.assert_allclose(
    interpolation.resize_cubic(flat, 9, 5), 0.3, atol=1e-6
  )
