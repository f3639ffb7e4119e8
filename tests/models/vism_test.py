import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models import variants, vism
from tests.models import random_params


def test_packed_mask_is_the_mean_of_the_middle_pixels():
  hole = np.random.default_rng(0).uniform(size=(2, 9, 16, 24)) < 0.4
  packed = vism.pack_mask(jnp.asarray(hole))
  assert packed.shape == (2, 3, 2, 3, 4)
  for b, t, i, j, k in np.ndindex(packed.shape):
    frame = 0 if t == 0 else 4 * (t - 1) + 1 + k
    rows, columns = 8 * i + 3, 8 * j + 3
    cell = hole[b, frame, rows : rows + 2, columns : columns + 2]
    assert packed[b, t, i, j, k] == pytest.approx(1 - cell.mean(), abs=1e-6)


def test_frames_that_are_no_multiple_of_four_are_an_error():
  with pytest.raises(ValueError, match=r"4k \+ 1 frames"):
    vism.pack_mask(jnp.zeros((1, 8, 16, 16), bool))


def test_velocity_depends_on_mask_and_rendering():
  config = variants.get("nano").vism
  model = vism.ViSM(config)
  rng = np.random.default_rng(0)
  grid = variants.get("nano").latent_grid
  latents = jnp.asarray(rng.normal(size=(1, *grid, 16)), jnp.float32)
  tokens = jnp.ones((1, 4), jnp.int32)
  picture = jnp.zeros((1, 32, 48, 3))
  params = random_params.draw(
    model, latents, tokens, picture, method="initialise"
  )
  mask = jnp.asarray(rng.uniform(size=(1, *grid, 4)), jnp.float32)
  conditions = vism.ViSMConditions(
    text_context=jnp.ones((1, 4, config.text.width)),
    mask=mask,
    masked=latents,
  )
  timestep = jnp.array([500.0])
  apply = jax.jit(model.apply)
  out = apply(params, latents, timestep, conditions)
  assert out.shape == latents.shape
  for change in ({"mask": 1 - mask}, {"masked": -latents}):
    other = apply(params, latents, timestep, conditions.replace(**change))
    assert float(jnp.abs(out - other).max()) > 1e-3
