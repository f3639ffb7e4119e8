"""The TPU kernel without a TPU: its numbers and its protocol, interpreted."""

import jax
import jax.numpy as jnp

from more4d_jax.kernels.attention import mosaic_tpu
from tests.kernels.attention import comparison

# Small enough that little arrays take several tiles, ragged last ones too.
TILES = mosaic_tpu.Tiles(
  queries=256,
  keys=256,
  keys_at_once=128,
  backward_queries=128,
  backward_keys=256,
  backward_keys_at_once=128,
)


def check(shape, dtype, key_length=None, **options):
  options = {"tiles": TILES, "interpret": True, **options}
  arrays = comparison.draw(shape, dtype)
  comparison.check(mosaic_tpu, arrays, key_length, **options)


def test_several_ragged_tiles_and_key_lengths():
  check((2, 300, 301, 1, 128), "float32", (129, 301))


def test_bfloat16_and_width_64():
  check((1, 129, 257, 2, 64), "bfloat16")


def test_tiles_cover_little_more_than_the_rows():
  assert mosaic_tpu.fit_tile(12, 1024) == 128
  assert mosaic_tpu.fit_tile(257, 1024) == 384
  for length in (9_568, 10_304, 4_784, 5_152):
    tile = mosaic_tpu.fit_tile(length, 1024)
    assert tile % 128 == 0 and 512 <= tile <= 1024
    assert -(-length // tile) * tile < 1.08 * length


def test_residents_bound_memory():
  """What the backward pass keeps in VMEM never grows with the queries."""
  q = jax.ShapeDtypeStruct((1, 200_000, 1, 128), jnp.bfloat16)
  k = jax.ShapeDtypeStruct((1, 512, 1, 128), jnp.bfloat16)
  lse = jax.ShapeDtypeStruct((1, 200_000, 1), jnp.float32)
  jaxpr = jax.make_jaxpr(
    lambda *x: mosaic_tpu.backward((*x[:3], None), x[3:5], x[3:5], scale=1.0)
  )(q, k, k, q, lse)
  calls = [e for e in jaxpr.eqns if e.primitive.name == "pallas_call"]
  assert len(calls) == -(-200_000 * 128 // (6 << 20))
