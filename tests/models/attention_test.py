"""The transformer with every implementation of attention."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from more4d_jax.models import backbone, variants
from tests.models import random_params

TINY = variants.get("tiny")


def _inputs(variant, batch=1):
  rng = np.random.default_rng(0)
  dit = variant.strag.dit
  grid, rows = variant.latent_grid, dit.motion_grid[0] * dit.motion_grid[1]

  def draw(*shape):
    return jnp.asarray(rng.normal(size=(batch, *shape)), jnp.float32)

  return {
    "latents": draw(*grid, 16),
    "timestep": jnp.full(batch, 321.5),
    "text_context": draw(9, dit.text_width),
    "condition_latents": draw(*grid, dit.in_channels - 16),
    "reference_latent": draw(*grid[1:], 16),
    "motion_features": draw(rows, dit.motion_width),
  }


def _step(variant, batch=1, **changes):
  """Loss and gradient of a step with random parameters."""
  inputs, dit = _inputs(variant, batch), variant.strag.dit
  params = random_params.draw(backbone.WanDiT(dit), **inputs)
  network = backbone.WanDiT(dataclasses.replace(dit, **changes))

  def loss(params):
    velocity = network.apply(params, **inputs)
    return jnp.mean(jnp.square(velocity - inputs["latents"]))

  return jax.jit(jax.value_and_grad(loss))(params)


@functools.cache
def _tiny_reference():
  return _step(TINY, attention="reference", norm_rotary="plain")


def _assert_same(found, wanted, loss_limit, gradient_limit):
  (loss, gradient), (wanted_loss, wanted_gradient) = found, wanted
  np.testing.assert_allclose(loss, wanted_loss, rtol=loss_limit)
  difference = jax.tree.map(jnp.subtract, gradient, wanted_gradient)
  limit = gradient_limit * float(optax.global_norm(wanted_gradient))
  assert float(optax.global_norm(difference)) < limit


@pytest.mark.slow
@pytest.mark.parametrize(
  "changes",
  [
    {"attention": "auto"},
    {"attention": "plain"},
    {"attention": "xla"},
    {"attention": "reference", "norm_rotary": "reference"},
  ],
)
def test_a_tiny_step_is_the_same_with_every_implementation(changes):
  # float32 sums in another order, through six layers.
  _assert_same(_step(TINY, **changes), _tiny_reference(), 1e-5, 1e-4)


@pytest.mark.slow
def test_a_bfloat16_step_of_several_samples_is_near_the_float32_one():
  nano = variants.get("nano")
  found = _step(nano, 2, attention="plain", dtype="bfloat16")
  # Products of 8 bits, through two layers.
  _assert_same(found, _step(nano, 2, attention="reference"), 1e-2, 5e-2)


def test_an_unknown_form_is_an_error_without_a_mesh_too():
  with pytest.raises(ValueError, match="ring or ulysses; found 'rings'"):
    dataclasses.replace(TINY.strag.dit, context_attention="rings")
