import jax.numpy as jnp
import numpy as np

from more4d_jax.sampling import strag_compat


def test_a_picture_becomes_what_released_weights_know():
  image = np.linspace(-1.2, 1.2, 4 * 6 * 3, dtype=np.float32)
  image = image.reshape(1, 4, 6, 3)
  depth = np.linspace(1, 3, 24, dtype=np.float32).reshape(1, 4, 6)
  found = strag_compat.prepare(jnp.asarray(image), jnp.asarray(depth))
  cut = np.floor(np.clip(image / 2 + 0.5, 0, 1) * 255)
  np.testing.assert_array_equal(found.colours, cut)
  np.testing.assert_allclose(found.picture, cut / 255, rtol=1e-6)
  assert (np.asarray(found.image_encoder_picture) == 127).all()
  # A source of 540 x 960 shown at 4 x 6: focal lengths 1 and (16/9) / (6/4).
  x, y, z = np.moveaxis(np.asarray(found.first_points[0]), -1, 0)
  np.testing.assert_allclose(z, depth[0], rtol=1e-6)
  np.testing.assert_allclose(x[:, 0] / z[:, 0], -0.5, rtol=1e-6)
  np.testing.assert_allclose(
    y[-1] / z[-1], 0.5 / ((16 / 9) / (6 / 4)), rtol=1e-6
  )
  np.testing.assert_allclose(
    found.depth_picture[0, ..., 1], depth[0] - 2, atol=1e-6
  )
