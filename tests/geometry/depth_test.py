import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import depth

_BAD = [np.nan, np.inf, -np.inf, 0.0, -2.0]


def test_invalid_depth_becomes_the_median_of_the_valid_one():
  image = np.asarray([[1.0, 3.0, 8.0], _BAD[:3]], np.float32)[None]
  cleaned = depth.clean_depth(jnp.asarray(image))
  np.testing.assert_array_equal(cleaned[0], [[1, 3, 8], [3, 3, 3]])
  nothing = depth.clean_depth(jnp.asarray(np.asarray([[_BAD]], np.float32)))
  np.testing.assert_array_equal(nothing, 1.0)


def test_compat_follows_the_originals_order_of_steps():
  image = jnp.asarray(np.asarray([[[*_BAD, 5.0, 2e4]]], np.float32))
  cleaned = depth.clean_depth(image, compat=True)
  np.testing.assert_array_equal(
    cleaned[0, 0], [1.0, 10000.0, 1.0, 1.0, 1.0, 5.0, 10000.0]
  )


@pytest.mark.parametrize("compat", [False, True])
def test_depth_image_spans_minus_one_to_one_per_image(compat):
  rng = np.random.default_rng(0)
  image = rng.uniform(0.5, 40.0, (2, 4, 5)).astype(np.float32)
  image[1] *= 10
  scaled = np.asarray(depth.depth_image(jnp.asarray(image), compat=compat))
  assert scaled.shape == (2, 4, 5, 3)
  np.testing.assert_array_equal(scaled[..., 0], scaled[..., 2])
  low = image.min((1, 2), keepdims=True)
  high = image.max((1, 2), keepdims=True)
  np.testing.assert_allclose(
    scaled[..., 1], 2 * (image - low) / (high - low) - 1, atol=1e-5
  )


def test_a_constant_depth_is_finite():
  flat = depth.depth_image(jnp.full((1, 3, 3), 2.0))
  np.testing.assert_array_equal(flat, -1.0)
