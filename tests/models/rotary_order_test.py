"""The order of rotated values: a permutation that no score can tell."""

import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.kernels.norm_rotary import dispatch
from more4d_jax.models import layers, rotary_order

_HEADS, _HEAD_DIM, _GRID = 3, 12, (2, 3, 2)


def test_values_of_even_number_come_first_in_each_head():
  values = np.arange(2 * 6)
  expected = [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]
  np.testing.assert_array_equal(rotary_order.half_split(values, 6), expected)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_there_and_back_is_the_same(kind):
  values = kind(np.random.default_rng(0).normal(size=(2, 5, 24)))
  there = rotary_order.half_split(values, 8)
  assert not np.array_equal(there, values)
  back = rotary_order.neighbours(there, 8)
  np.testing.assert_array_equal(back, values)


def test_what_is_rotated_is_told_by_its_path():
  for path in (
    *("blocks/self_attn/q/kernel", "blocks/self_attn/k/bias"),
    *("blocks/self_attn/norm_k/scale", "blocks/self_attn/q/up"),
    *("blocks/self_attn/k", "blocks/self_attn/norm_q"),
  ):
    assert rotary_order.is_rotated(path), path
  for path in (
    *("blocks/self_attn/v/kernel", "blocks/self_attn/o/bias"),
    *("blocks/cross_attn/q/kernel", "blocks/cross_attn/norm_k/scale"),
    *("blocks/self_attn/q/down", "blocks/self_attn", "blocks/ffn/fc1/up"),
  ):
    assert not rotary_order.is_rotated(path), path


def test_heads_that_do_not_divide_the_axis_are_an_error():
  for head_dim, size in ((5, 10), (8, 20)):
    with pytest.raises(ValueError, match=f"heads of {head_dim} values"):
      rotary_order.half_split(np.zeros(size), head_dim)


def _neighbouring_scores(x, parameters):
  """Scores as published: neighbours turned as complex numbers, float64."""
  angles = layers.rotary_angles(_GRID, _HEAD_DIM)
  cos, sin = np.split(angles, 2, axis=-1)
  turn = (cos + 1j * sin.astype(np.float64))[:, None]
  rotated = []
  for kernel, bias, scale in parameters:
    value = x @ kernel + bias
    value = scale * value / np.sqrt(np.mean(value**2, -1, keepdims=True) + 1e-6)
    pairs = value.reshape(len(x), _HEADS, _HEAD_DIM // 2, 2)
    rotated.append((pairs[..., 0] + 1j * pairs[..., 1]) * turn)
  return np.einsum("nki,mki->knm", rotated[0], rotated[1].conj()).real


def test_scores_are_those_of_neighbouring_pairs():
  rng = np.random.default_rng(1)
  width, tokens = _HEADS * _HEAD_DIM, int(np.prod(_GRID))
  x = rng.normal(size=(tokens, width))
  parameters = [
    (rng.normal(size=(width, width)), rng.normal(size=width), 1 + rng.random())
    for _ in range(2)
  ]
  parameters = [(k, b, s * rng.random(width)) for k, b, s in parameters]
  expected = _neighbouring_scores(x, parameters)
  angles = jnp.asarray(layers.rotary_angles(_GRID, _HEAD_DIM))
  ours = []
  for values in parameters:
    kernel, bias, scale = (
      rotary_order.half_split(v, _HEAD_DIM).astype(np.float32) for v in values
    )
    value = jnp.asarray(x.astype(np.float32) @ kernel + bias)[None]
    value = dispatch.norm_rotary(
      value, jnp.asarray(scale), angles, num_heads=_HEADS, eps=1e-6
    )
    ours.append(value[0])
  found = jnp.einsum("nkd,mkd->knm", *ours, precision="highest")
  # Float32 rounding of sums of a dozen products.
  np.testing.assert_allclose(
    found, expected, atol=1e-5 * np.abs(expected).max()
  )
