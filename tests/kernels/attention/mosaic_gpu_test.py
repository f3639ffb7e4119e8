"""The Hopper kernels without a GPU, simulated, and with one where there is.

What needs the simulator runs with jax 0.11 (make test-aot); the tests marked
`gpu` need JAX_PLATFORMS=cuda,cpu and a Hopper GPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import mosaic_gpu as plgpu

from more4d_jax.kernels.attention import cases, mosaic_gpu
from tests.kernels import hopper_simulator
from tests.kernels.attention import comparison

simulated, RACE = hopper_simulator.simulated, hopper_simulator.RACE


def check(shape, key_length=None, **options):
  arrays = comparison.draw(shape, "bfloat16")
  comparison.check(mosaic_gpu, arrays, key_length, **options)


@simulated
@pytest.mark.parametrize("queries, keys, width", [(130, 140, 64), (72, 1, 128)])
def test_ragged_tiles_and_no_race(simulator, capfd, queries, keys, width):
  check((1, queries, keys, 1, width), interpret=simulator)
  assert RACE not in capfd.readouterr().out


@simulated
def test_masked_keys_hold_nan(simulator, capfd):
  check((2, 5, 150, 1, 128), (129, 1), interpret=simulator)
  assert RACE not in capfd.readouterr().out


@simulated
@pytest.mark.slow
def test_rings_go_round_and_samples_and_heads_differ(simulator, capfd):
  tiles = mosaic_gpu.Tiles(keys=64, d_query_keys=64, stages=3)
  check((2, 257, 193, 2, 64), (193, 66), interpret=simulator, tiles=tiles)
  assert RACE not in capfd.readouterr().out


@simulated
def test_no_valid_key_gives_zeros(simulator):
  arrays = comparison.draw((2, 9, 10, 1, 64), "bfloat16")
  out, lse, *grads = comparison.gradients(
    mosaic_gpu, arrays, jnp.array((0, 10)), interpret=simulator
  )
  assert np.isneginf(lse[0]).all()
  for x in (np.asarray(x, np.float32) for x in (out, *grads)):
    assert np.isfinite(x).all() and not x[0].any() and x[1].any()


@simulated
def test_large_logits_and_identical_keys(simulator):
  q, k, v, *cotangents = comparison.draw((1, 9, 130, 1, 64), "bfloat16")
  same = jnp.broadcast_to(k[:, :1], k.shape)
  comparison.check(mosaic_gpu, (q, same, v, *cotangents), interpret=simulator)
  large = (30 * q, 3 * k, v, *cotangents)
  comparison.check(mosaic_gpu, large, interpret=simulator)


@simulated
def test_the_simulator_sees_a_race(simulator, capfd, monkeypatch):
  """A tile that is freed before its reads are ordered before TMA's writes."""
  monkeypatch.setattr(plgpu, "commit_smem", lambda: None)
  q, k, v, *_ = comparison.draw((1, 64, 400, 1, 64), "bfloat16")
  with hopper_simulator.a_race(capfd):
    out, _ = mosaic_gpu.forward(q, k, v, None, scale=1.0, interpret=simulator)
    jax.block_until_ready(out)


def both_passes(q, k, v, d_out):
  out, lse = mosaic_gpu.forward(q, k, v, None, scale=0.1)
  outputs, cotangents = (out, lse), (d_out, lse)
  return mosaic_gpu.backward((q, k, v, None), outputs, cotangents, scale=0.1)


@pytest.mark.parametrize("mapped", (False, True))
def test_exports_for_cuda_without_a_gpu(mapped):
  shape = (3,) * mapped + (1, 300, 2, 64)
  like = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
  function = jax.vmap(both_passes) if mapped else both_passes
  exported = jax.export.export(
    jax.jit(function),
    platforms=["cuda"],
    disabled_checks=[
      jax.export.DisabledSafetyCheck.custom_call("mosaic_gpu_v2")
    ],
  )(*[like] * 4)
  calls = exported.mlir_module().count("stablehlo.custom_call @mosaic_gpu_v2")
  assert calls == 3
  assert [x.shape for x in exported.out_avals] == [shape] * 3


def test_says_what_it_cannot_take():
  assert not mosaic_gpu.unsupported(64, jnp.bfloat16)
  assert "not 96" in mosaic_gpu.unsupported(96, jnp.bfloat16)
  for dtype in ("float16", "float32"):
    assert f"not {dtype}" in mosaic_gpu.unsupported(128, dtype)


def test_one_table_of_tiles():
  for hopper in ("NVIDIA H100 80GB HBM3", "NVIDIA H200", "9.0"):
    assert mosaic_gpu.tiles_for(hopper) is not None
  for other in ("NVIDIA A100-SXM4-80GB", "NVIDIA B200", "10.0", "cpu"):
    assert mosaic_gpu.tiles_for(other) is None


SHAPES = sorted({(x.queries, x.keys, x.width) for x in cases.CASES.values()})
ODD = ((1, 1, 64), (127, 129, 64), (128, 128, 128), (129, 127, 128))


@pytest.mark.gpu
@pytest.mark.parametrize("queries, keys, width", [*SHAPES, *ODD])
@pytest.mark.usefixtures("on_hopper")
def test_the_real_kernels(queries, keys, width):
  check((2, queries, keys, 1, width))
  check((2, queries, keys, 1, width), (keys, -(-keys // 3)))
