import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.kernels.attention import blocked, dispatch

# Float32 sums of 11 terms in another order.
TOLERANCE = {"rtol": 2e-5, "atol": 2e-6}


def _inputs(dtype=np.float32):
  rng = np.random.default_rng(0)
  q = rng.normal(size=(2, 7, 3, 4)).astype(dtype)
  k = rng.normal(size=(2, 11, 3, 4)).astype(dtype)
  v = rng.normal(size=(2, 11, 3, 4)).astype(dtype)
  return q, k, v


def _loop_attention(q, k, v, lengths):
  out = np.zeros(q.shape)
  for b, n, head in np.ndindex(q.shape[:3]):
    keys = k[b, : lengths[b], head].astype(np.float64)
    scores = keys @ q[b, n, head] / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    out[b, n, head] = weights @ v[b, : lengths[b], head]
  return out


@pytest.mark.parametrize("implementation", dispatch.IMPLEMENTATIONS)
@pytest.mark.parametrize("lengths", [None, (11, 4)])
def test_every_implementation_equals_a_loop(implementation, lengths):
  q, k, v = _inputs()
  key_length = None if lengths is None else jnp.asarray(lengths)
  out = dispatch.attention(
    *map(jnp.asarray, (q, k, v)),
    key_length=key_length,
    implementation=implementation,
  )
  expected = _loop_attention(q, k, v, lengths or (11, 11))
  np.testing.assert_allclose(out, expected, **TOLERANCE)


def test_blocks_with_a_ragged_tail_change_neither_value_nor_gradient():
  q, k, v = map(jnp.asarray, _inputs())

  def loss(function, **options):
    return lambda *x: jnp.sum(jnp.sin(function(*x, scale=0.5, **options)))

  whole = jax.value_and_grad(loss(blocked.attention), argnums=(0, 1, 2))
  parts = jax.value_and_grad(
    loss(blocked.attention, query_block=3), argnums=(0, 1, 2)
  )
  for a, b in zip(
    jax.tree.leaves(whole(q, k, v)), jax.tree.leaves(parts(q, k, v))
  ):
    np.testing.assert_allclose(a, b, **TOLERANCE)


def test_unknown_implementation_is_an_error():
  q, k, v = map(jnp.asarray, _inputs())
  with pytest.raises(ValueError, match="must be one of auto"):
    dispatch.attention(q, k, v, implementation="flash")


def test_auto_leaves_the_compiler_for_long_sequences():
  assert dispatch.choose("auto", 48, 48) == "xla"
  assert dispatch.choose("auto", 10304, 10304) == "blocked"
