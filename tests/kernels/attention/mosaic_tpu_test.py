"""The TPU kernel without a TPU: its numbers and its protocol, interpreted."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from jax.experimental.pallas import tpu as pltpu

from more4d_jax.kernels.attention import cases, dispatch, mosaic_tpu
from tests.kernels.attention import comparison

# Small enough that little arrays take several tiles, ragged last ones too.
TILES = mosaic_tpu.Tiles(
  queries=256,
  keys=256,
  keys_at_once=64,
  slices_ahead=2,
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


@pytest.mark.slow
def test_lengths_around_one_tile():
  check((2, 127, 129, 1, 64), "float32", (1, 128))


@pytest.mark.slow
@pytest.mark.parametrize("keys", [1, 127, 128, 129, 273])
def test_last_tile_of_keys_is_cut_short(keys):
  check((1, 130, keys, 1, 64), "float32")


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["self", "image"])
def test_the_models_ragged_tails(layer):
  case = cases.CASES[f"14b/{layer}/9568/whole"].reduced()
  shape = case.batch, case.queries, case.keys, 1, case.width
  assert case.queries % 128 == 9_568 % 128
  check(shape, "bfloat16")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
  "queries, keys, key_length",
  [(65, 9_568, None), (65, 9_568, (9_567,)), (9_568, 65, None)],
)
def test_as_many_tokens_as_the_models(queries, keys, key_length, dtype):
  tiles = mosaic_tpu.tiles_for("TPU v6 lite")
  check((1, queries, keys, 1, 128), dtype, key_length, tiles=tiles)


@pytest.mark.slow
def test_one_valid_key_gives_its_value():
  """Softmax over one key: its value, whatever the query; no gradient of q."""
  arrays = comparison.draw((2, 140, 150, 1, 64), "float32")
  lengths = jnp.array((1, 1))
  spoiled = comparison.spoil_masked(arrays, lengths)
  out, _, d_q, *_ = comparison.gradients(
    mosaic_tpu,
    (*spoiled[:4], jnp.zeros_like(spoiled[4])),
    lengths,
    tiles=TILES,
    interpret=True,
  )
  v = np.asarray(arrays[2][:, :1])
  np.testing.assert_allclose(out, np.broadcast_to(v, out.shape), rtol=2e-6)
  # Sums of 64 products around 1 that cancel, in float32.
  np.testing.assert_allclose(d_q, 0, atol=2e-5)


@pytest.mark.slow
@hypothesis.settings(
  max_examples=6,
  deadline=None,
  derandomize=True,
  phases=[hypothesis.Phase.generate],  # Each example is compiled anew.
)
@hypothesis.given(
  queries=strategies.integers(1, 300),
  keys=strategies.integers(1, 600),
  width=strategies.sampled_from((64, 128)),
  dtype=strategies.sampled_from(("float32", "bfloat16")),
  data=strategies.data(),
)
def test_random_shapes(queries, keys, width, dtype, data):
  lengths = strategies.tuples(*2 * [strategies.integers(1, keys)])
  key_length = data.draw(strategies.none() | lengths)
  # With few keys the gradients of logits are small differences of sums, and
  # float32 keeps less of them.
  tolerance = {"float32": 5e-6, "bfloat16": 1e-2}[dtype]
  shape = 2, queries, keys, 1, width
  check(shape, dtype, key_length, tolerance=tolerance)


def test_every_kind_of_device_has_tiles_that_the_kernel_can_use():
  for tiles in mosaic_tpu.TILES.values():
    for rows in (tiles.queries, tiles.keys, tiles.backward_queries):
      assert rows % 128 == 0
    assert tiles.keys_at_once % 128 == tiles.backward_keys_at_once % 128 == 0
  assert mosaic_tpu.tiles_for("TPU v99") is mosaic_tpu.TILES[None]


def test_tiles_follow_the_devices_of_the_mesh(monkeypatch):
  taken = []
  monkeypatch.setattr(mosaic_tpu, "tiles_for", taken.append)
  device = jax.sharding.AbstractDevice(
    device_kind="TPU v6 lite", num_cores=1, platform="tpu"
  )
  mesh = jax.sharding.AbstractMesh((1,), ("data",), abstract_device=device)
  like = jax.ShapeDtypeStruct((1, 8, 1, 64), jnp.float32)

  def trace():
    jax.eval_shape(
      lambda *x: dispatch.attention(*x, implementation="plain"), *3 * [like]
    )

  with jax.sharding.use_abstract_mesh(mesh):
    trace()
  trace()
  assert taken == ["TPU v6 lite", None]


@pytest.mark.slow
def test_protocol_has_no_race_and_reads_nothing_uninitialised():
  # The flag has no public name.
  from jax._src.pallas.mosaic.interpret import interpret_pallas_call

  interpret = pltpu.InterpretParams(
    detect_races=True, uninitialized_memory="nan"
  )
  try:
    check((1, 200, 300, 1, 64), "float32", (290,), interpret=interpret)
    assert not interpret_pallas_call.races.races_found
  finally:
    pltpu.reset_tpu_interpret_mode_state()


@pytest.mark.slow
def test_queries_in_several_parts(monkeypatch):
  monkeypatch.setattr(mosaic_tpu, "_RESIDENT_ELEMENTS", 256 * 64)
  check((1, 300, 140, 1, 64), "float32")


@pytest.mark.slow
def test_no_valid_key_gives_zeros():
  arrays = comparison.draw((2, 140, 150, 1, 64), "float32")
  out, lse, *grads = comparison.gradients(
    mosaic_tpu, arrays, jnp.array((0, 150)), tiles=TILES, interpret=True
  )
  assert np.isneginf(lse[0]).all()
  for x in (out, *grads):
    assert np.isfinite(x).all() and not np.asarray(x[0]).any()


@pytest.mark.slow
def test_large_logits_and_identical_keys():
  options = {"tiles": TILES, "interpret": True}
  q, k, v, *cotangents = comparison.draw((1, 130, 290, 1, 64), "float32")
  same = jnp.broadcast_to(k[:, :1], k.shape)
  comparison.check(mosaic_tpu, (q, same, v, *cotangents), **options)
  # Logits of some hundreds: a unit in the last place of one is 3e-5, and the
  # weights carry that as a relative error.
  large = (30 * q, 3 * k, v, *cotangents)
  comparison.check(mosaic_tpu, large, tolerance=1e-4, **options)
