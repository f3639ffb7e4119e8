"""The reference against loops in float64 and against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from more4d_jax.kernels.attention import reference
from tests.kernels.attention import comparison

SHAPE = (2, 3, 5, 2, 4)


def by_loops(q, k, v, key_length, scale):
  out, lse = np.zeros_like(q), np.zeros(q.shape[:-1])
  for b, n, h in np.ndindex(lse.shape):
    logits = scale * k[b, : key_length[b], h] @ q[b, n, h]
    out[b, n, h] = scipy.special.softmax(logits) @ v[b, : key_length[b], h]
    lse[b, n, h] = scipy.special.logsumexp(logits)
  return out, lse


@pytest.mark.parametrize("key_length", [(5, 5), (1, 4)])
def test_values_of_slow_loops(key_length):
  with jax.enable_x64(True):
    q, k, v, *_ = comparison.draw(SHAPE, jnp.float64)
    found = reference.attention_and_lse(
      q, k, v, key_length=jnp.array(key_length), scale=0.7
    )
    wanted = by_loops(*map(np.asarray, (q, k, v)), key_length, 0.7)
    # float64 throughout but the products' order of summation.
    for a, b in zip(found, wanted):
      np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("key_length", [None, (2, 5)])
def test_gradient_of_finite_differences(key_length):
  with jax.enable_x64(True):
    *inputs, d_out, d_lse = comparison.draw(SHAPE, jnp.float64)
    d_lse = d_lse.astype(jnp.float64)
    if key_length is not None:
      key_length = jnp.array(key_length)

    def loss(*inputs):
      out, lse = reference.attention_and_lse(
        *inputs, key_length=key_length, scale=0.7
      )
      return jnp.sum(out * d_out) + jnp.sum(lse * d_lse)

    found = jax.grad(loss, argnums=(0, 1, 2))(*inputs)
    step = 1e-5
    directions = comparison.draw(SHAPE, jnp.float64, seed=1)[:3]
    for i, direction in enumerate(directions):
      ahead, behind = list(inputs), list(inputs)
      ahead[i] = inputs[i] + step * direction
      behind[i] = inputs[i] - step * direction
      slope = (loss(*ahead) - loss(*behind)) / (2 * step)
      # Third derivatives of order one times step squared.
      np.testing.assert_allclose(
        jnp.sum(found[i] * direction), slope, rtol=1e-8, atol=1e-8
      )


def test_masked_keys_may_hold_nan():
  arrays = comparison.draw(SHAPE, jnp.float32)
  key_length = jnp.array((1, 4))
  spoiled = comparison.spoil_masked(arrays, key_length)
  wanted = comparison.reference_gradients(arrays, key_length)
  found = comparison.reference_gradients(spoiled, key_length)
  for a, b in zip(found, wanted):
    np.testing.assert_array_equal(a, b)


def test_no_valid_key_gives_zeros_and_minus_infinity():
  arrays = comparison.draw(SHAPE, jnp.float32)
  out, lse, *grads = comparison.reference_gradients(arrays, jnp.array((0, 5)))
  assert not np.asarray(out[0]).any()
  assert np.isneginf(lse[0]).all() and np.isfinite(lse[1]).all()
  for gradient in grads:
    assert not np.asarray(gradient[0]).any()
    assert np.isfinite(gradient).all()
