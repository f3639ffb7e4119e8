"""Compiles the Hopper attention kernels without a GPU (`make test-aot`).

All shapes of the real models are `long` (`make test-aot-long`).
"""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.kernels.attention import cases, dispatch, mosaic_gpu
from tests.kernels import aot

KERNELS = {
  "attention_forward",
  "attention_backward_queries",
  "attention_backward_keys",
}
# Heads and samples only count the blocks, so that two stand for all. One of
# each kind of length: multiples of 8 and others, more and fewer than a block,
# an even number of tiles and odd ones.
SHORT = ((9_568, 9_568, 128), (1_196, 257, 128), (300, 1, 64))
SHAPES = sorted({(x.queries, x.keys, x.width) for x in cases.CASES.values()})


def compile_both(device, queries, keys, width, tiles=mosaic_gpu.TILES["9.0"]):
  def like(length):
    return jax.ShapeDtypeStruct((1, length, 2, width), jnp.bfloat16)

  def both(q, k, v, d_out, d_lse, key_length):
    options = {"scale": width**-0.5, "tiles": tiles}
    outputs = mosaic_gpu.forward(q, k, v, key_length, **options)
    inputs, cotangents = (q, k, v, key_length), (d_out, d_lse)
    return mosaic_gpu.backward(inputs, outputs, cotangents, **options)

  return aot.compile_for(
    device,
    both,
    like(queries),
    like(keys),
    like(keys),
    like(queries),
    jax.ShapeDtypeStruct((1, queries, 2), jnp.float32),
    jax.ShapeDtypeStruct((1,), jnp.int32),
  )


def assert_no_spill(report):
  """Checks what the assembler says about each of the three kernels."""
  names = re.findall(r"entry function '(\w+)_mosaic_gpu_kernel'", report)
  spills = re.findall(
    r"frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report
  )
  assert set(names) == KERNELS and len(spills) == len(names)
  assert set(spills) == {("0", "0")}, report


def check(device, capfd, monkeypatch, shape):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  compiled = compile_both(device, *shape)
  report = capfd.readouterr()
  assert_no_spill(report.out + report.err)
  text = compiled.as_text()
  assert all(name in text for name in KERNELS)


@pytest.mark.parametrize("shape", SHORT)
def test_compiles_without_a_spill(hopper_device, capfd, monkeypatch, shape):
  check(hopper_device, capfd, monkeypatch, shape)


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_every_case_compiles(hopper_device, capfd, monkeypatch, shape):
  check(hopper_device, capfd, monkeypatch, shape)


def test_too_large_a_tile_is_an_error(hopper_device):
  """What compiles fits in shared memory: the compiler counts it."""
  tiles = mosaic_gpu.Tiles(keys=256)
  with pytest.raises(ValueError, match="exceeds available shared memory"):
    compile_both(hopper_device, 256, 256, 128, tiles)


@pytest.mark.slow
def test_memory_is_linear_in_the_tokens(hopper_device):
  tokens = 2_576, 5_152, 10_304, 20_608
  memory = [
    compile_both(hopper_device, n, n, 128).memory_analysis().temp_size_in_bytes
    for n in tokens
  ]
  for few, many in itertools.pairwise(memory):
    assert many < 2.1 * few
  # Keys and values without what is masked, and the statistics.
  assert memory[-1] < 3 * tokens[-1] * 2 * 128 * 2


@pytest.mark.parametrize("dtype, kernels", [("bfloat16", 3), ("float32", 0)])
def test_auto_takes_the_kernels_on_a_mesh_of_hoppers(dtype, kernels):
  devices = np.array(aot.hopper_devices(2))
  mesh = jax.sharding.Mesh(devices, ("data",))
  spec = jax.sharding.PartitionSpec("data")
  like = jax.ShapeDtypeStruct(
    (2, 300, 1, 64), dtype, sharding=jax.sharding.NamedSharding(mesh, spec)
  )
  attention = jax.shard_map(
    dispatch.attention, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec
  )

  def loss(*x):
    return jnp.sum(attention(*x).astype(jnp.float32))

  with jax.set_mesh(mesh):
    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    text = gradient.lower(like, like, like).compile().as_text()
  assert len([name for name in KERNELS if name in text]) == kernels
