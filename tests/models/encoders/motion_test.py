import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models.encoders import image, motion
from tests.models import random_params


def test_position_table_is_by_flat_patch_number():
  table = motion.position_table(30, 6)
  for n, column in np.ndindex(30, 6):
    angle = n / 10000 ** (2 * (column // 2) / 6)
    expected = np.sin(angle) if column % 2 == 0 else np.cos(angle)
    assert abs(table[n, column] - expected) < 1e-6


def test_motion_features_are_local_and_a_picture_counts_as_two_frames():
  config = motion.MotionEncoderConfig(
    image_size=(16, 24),
    patch=8,
    width=12,
    num_layers=1,
    num_heads=2,
    mlp_width=16,
  )
  model = motion.MotionEncoder(config)
  picture = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 16, 24, 3)))
  variables = random_params.draw(model, picture)
  apply = jax.jit(model.apply)
  features = apply(variables, picture)
  assert features.shape == (1, 6, 12)
  # Both frames are the same, so their halves of the kernel may be swapped.
  kernel = variables["params"]["patch_embed"]["kernel"]
  variables["params"]["patch_embed"]["kernel"] = kernel[::-1]
  np.testing.assert_allclose(apply(variables, picture), features, atol=1e-5)


def test_image_tower_puts_its_class_token_first():
  config = image.ImageEncoderConfig(
    image_size=28, width=16, num_heads=2, num_layers=1, mlp_width=24
  )
  model = image.ImageEncoder(config)
  picture = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 20, 30, 3)))
  variables = random_params.draw(model, picture)
  apply = jax.jit(model.apply)
  features = apply(variables, picture)
  assert features.shape == (1, config.num_tokens, 16) == (1, 5, 16)
  # Without blocks' mixing the class row does not depend on the picture.
  blocks = variables["params"]["blocks"]
  for name in ("o", "v"):
    blocks[name] = jax.tree.map(jnp.zeros_like, blocks[name])
  first, second = (apply(variables, x)[0] for x in (picture, 1 - picture))
  np.testing.assert_allclose(first[0], second[0], atol=1e-6)
  assert np.all(np.abs(first[1:] - second[1:]).max(-1) > 1e-3)
