"""The Hopper kernels without a GPU, simulated, and with one where there is.

What needs the simulator runs with jax 0.11 (make test-aot); the tests marked
`gpu` need JAX_PLATFORMS=cuda,cpu and a Hopper GPU.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.pallas import mosaic_gpu as plgpu

from more4d_jax.kernels.norm_rotary import mosaic_gpu
from tests.kernels import hopper_simulator
from tests.kernels.norm_rotary import comparison

simulated, RACE = hopper_simulator.simulated, hopper_simulator.RACE


@simulated
@pytest.mark.parametrize(
  ("shape", "given"),
  [((1, 70, 5, 64), False), ((2, 9, 3, 128), True), ((1, 1, 1, 128), False)],
)
def test_ragged_rows_and_no_race(simulator, capfd, shape, given):
  comparison.check(
    mosaic_gpu, shape, "bfloat16", given=given, interpret=simulator
  )
  assert RACE not in capfd.readouterr().out


@simulated
def test_the_simulator_sees_a_race(simulator, capfd, monkeypatch):
  """A tile that is freed before its reads are ordered before TMA's writes."""
  monkeypatch.setattr(plgpu, "commit_smem", lambda: None)
  x, scale, angles, *_ = comparison.draw((1, 8, 3, 64), "bfloat16")
  with hopper_simulator.a_race(capfd):
    out = mosaic_gpu.forward(
      (x, scale, angles, None),
      num_heads=3,
      eps=comparison.EPS,
      interpret=simulator,
    )
    jax.block_until_ready(out)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("mapped", [False, True])
def test_exports_for_cuda_without_a_gpu(mapped, given):
  *inputs, d_out = comparison.draw((2, 70, 3, 64), "bfloat16", given=given)
  options = {"num_heads": 3, "eps": comparison.EPS}

  def both(x, d_out):
    inputs[0] = x
    whole = tuple(inputs)
    out = mosaic_gpu.forward(whole, **options)
    return out, *mosaic_gpu.backward(whole, d_out, **options)

  arrays = [x[None] if mapped else x for x in (inputs[0], d_out)]
  exported = jax.export.export(
    jax.jit(jax.vmap(both) if mapped else both),
    platforms=["cuda"],
    disabled_checks=[
      jax.export.DisabledSafetyCheck.custom_call("mosaic_gpu_v2")
    ],
  )(*arrays)
  calls = exported.mlir_module().count("stablehlo.custom_call @mosaic_gpu_v2")
  assert calls == 2
  assert exported.out_avals[0].shape == arrays[1].shape


def test_says_what_it_cannot_take():
  assert not mosaic_gpu.unsupported(64, jnp.bfloat16)
  assert "not 96" in mosaic_gpu.unsupported(96, jnp.bfloat16)
  assert "not float32" in mosaic_gpu.unsupported(128, jnp.float32)
  reason = mosaic_gpu.unsupported(128, jnp.bfloat16, "NVIDIA B200")
  assert "Hopper GPUs, not NVIDIA B200" in reason


@pytest.mark.gpu
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
  "shape",
  [(1, 9568, 12, 128), (1, 10304, 40, 128), (2, 129, 3, 64), (1, 1, 1, 128)],
)
@pytest.mark.usefixtures("on_hopper")
def test_the_real_kernels(shape, given):
  comparison.check(mosaic_gpu, shape, "bfloat16", given=given)
