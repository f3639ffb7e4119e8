"""Blocked attention against the reference, and its memory."""

import functools
import itertools
import types

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from more4d_jax.kernels.attention import plain
from tests.kernels.attention import comparison


@pytest.mark.parametrize(
  "shape, key_length, dtype",
  [
    ((1, 130, 129, 2, 128), None, "bfloat16"),
    ((2, 70, 65, 2, 64), (65, 33), "bfloat16"),
    ((3, 70, 200, 2, 64), (1, 128, 200), "float32"),
    ((2, 1, 1, 1, 8), None, "float32"),
  ],
)
def test_values_and_gradients(shape, key_length, dtype):
  comparison.check(plain, comparison.draw(shape, dtype), key_length)


def _apart(run):
  def with_scale(*arrays, scale):
    return plain.apart(functools.partial(run, scale=scale))(*arrays)

  return with_scale


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_heads_one_after_the_other(dtype, monkeypatch):
  monkeypatch.setattr(plain, "_FEW_WEIGHTS", 0)
  apart = types.SimpleNamespace(
    forward=_apart(plain.forward), backward=_apart(plain.backward)
  )
  arrays = comparison.draw((3, 70, 200, 2, 64), dtype)
  comparison.check(apart, arrays, (1, 128, 200))


@pytest.mark.parametrize(
  "queries, keys, key_length", [(65, 9_568, 9_567), (9_568, 65, 64)]
)
def test_as_many_tokens_as_the_models(queries, keys, key_length):
  arrays = comparison.draw((1, queries, keys, 1, 128), "float32")
  comparison.check(plain, arrays, (key_length,))


def test_several_blocks_with_a_ragged_last_one(monkeypatch):
  monkeypatch.setattr(plain, "_STEP_WEIGHTS", 1)
  assert plain.query_block(2 * 150, 150) == 64
  arrays = comparison.draw((1, 150, 150, 2, 32), "float32")
  comparison.check(plain, arrays, (131,))


@pytest.mark.slow
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(st.data())
def test_random_shapes(data):
  sizes = [data.draw(st.integers(1, top)) for top in (2, 150, 150, 3, 40)]
  lengths = st.integers(1, sizes[2])
  key_length = [data.draw(lengths) for _ in range(sizes[0])]
  arrays = comparison.draw(sizes, "float32")
  # With one key in all, d_q and d_k are differences that cancel: of order
  # one in their terms, near zero in their sum.
  comparison.check(plain, arrays, key_length, tolerance=4e-6)


def test_large_logits_and_identical_keys():
  q, k, v, *cotangents = comparison.draw((1, 70, 90, 1, 64), "float32")
  k = jnp.broadcast_to(k[:, :1], k.shape)
  comparison.check(plain, (q, k, v, *cotangents))
  q, k, v, *cotangents = comparison.draw((1, 70, 90, 1, 64), "float32")
  # Logits of some hundreds: a unit in the last place of one is 3e-5, and the
  # weights carry that as a relative error.
  comparison.check(plain, (30 * q, 3 * k, v, *cotangents), tolerance=1e-4)


def test_no_valid_key_gives_zeros():
  arrays = comparison.draw((2, 3, 5, 1, 8), "float32")
  out, lse, *grads = comparison.gradients(plain, arrays, jnp.array((0, 5)))
  assert np.isneginf(lse[0]).all()
  for x in (out, *grads):
    assert np.isfinite(x).all() and not np.asarray(x[0]).any()


def temporary_bytes(tokens):
  like = jax.ShapeDtypeStruct((1, tokens, 2, 64), jnp.float32)
  lse = jax.ShapeDtypeStruct((1, tokens, 2), jnp.float32)

  def both(q, k, v, d_out, d_lse):
    outputs = plain.forward(q, k, v, None, scale=0.1)
    return plain.backward((q, k, v, None), outputs, (d_out, d_lse), scale=0.1)

  compiled = jax.jit(both).lower(like, like, like, like, lse).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_tokens():
  sizes = [temporary_bytes(n) for n in (2_500, 5_000, 10_000, 20_000)]
  for smaller, larger in itertools.pairwise(sizes):
    assert larger < 2.2 * smaller, sizes
  assert sizes[-1] < 20_000**2 * 4 / 8, sizes  # One head's weights are 1.6 GB.
