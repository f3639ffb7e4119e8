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


def _inputs():
  rng = np.random.default_rng(0)
  dit = TINY.strag.dit
  grid, rows = TINY.latent_grid, dit.motion_grid[0] * dit.motion_grid[1]

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  return {
    "latents": draw(1, *grid, 16),
    "timestep": jnp.array([321.5]),
    "text_context": draw(1, 9, dit.text_width),
    "condition_latents": draw(1, *grid, dit.in_channels - 16),
    "reference_latent": draw(1, *grid[1:], 16),
    "motion_features": draw(1, rows, dit.motion_width),
  }


@functools.cache
def _params():
  return random_params.draw(backbone.WanDiT(TINY.strag.dit), **_inputs())


@functools.cache
def _loss_and_gradient(implementation):
  config = dataclasses.replace(TINY.strag.dit, attention=implementation)
  inputs = _inputs()

  def loss(params):
    velocity = backbone.WanDiT(config).apply(params, **inputs)
    return jnp.mean(jnp.square(velocity - inputs["latents"]))

  return jax.jit(jax.value_and_grad(loss))(_params())


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["auto", "blocked", "xla"])
def test_a_tiny_step_is_the_same_with_every_implementation(implementation):
  loss, gradient = _loss_and_gradient(implementation)
  wanted, wanted_gradient = _loss_and_gradient("reference")
  # float32 sums in another order, through six layers.
  np.testing.assert_allclose(loss, wanted, rtol=1e-5)
  difference = jax.tree.map(jnp.subtract, gradient, wanted_gradient)
  limit = 1e-4 * float(optax.global_norm(wanted_gradient))
  assert float(optax.global_norm(difference)) < limit


def test_an_unknown_form_is_an_error_without_a_mesh_too():
  with pytest.raises(ValueError, match="ring or ulysses; found 'rings'"):
    dataclasses.replace(TINY.strag.dit, context_attention="rings")
