"""Compiles attention for real accelerators, without one (`make test-aot`).

Heads are a dimension of the grid: the compiled kernels are the same for any
number of them, so cases that differ in nothing else are compiled once, with
two. Each is compiled for one generation of TPUs, all generations taking turns;
all of them for all generations are `long` (`make test-aot-long`).
"""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.pallas import tpu as pltpu

from more4d_jax.kernels.attention import cases, dispatch, mosaic_tpu
from tests.kernels import aot

ROOT = pathlib.Path(__file__).parents[3]
SHAPES = sorted({(c.queries, c.keys) for c in cases.CASES.values()})
TURNS = [
  (aot.TPU_TARGETS[i % len(aot.TPU_TARGETS)], *shape)
  for i, shape in enumerate(SHAPES)
]
REST = [
  (target, *shape)
  for target in aot.TPU_TARGETS
  for shape in SHAPES
  if (target, *shape) not in TURNS
]


def compile_gradient(device, queries, keys, dtype="bfloat16", **options):
  width, heads = options.pop("width", 128), options.pop("heads", 2)
  implementation = options.pop("implementation", "auto")

  def like(length):
    return jax.ShapeDtypeStruct((1, length, heads, width), dtype)

  def loss(q, k, v, key_length=None):
    out, lse = dispatch.attention(
      q,
      k,
      v,
      key_length=key_length,
      return_lse=True,
      implementation=implementation,
    )
    return jnp.sum(out.astype(jnp.float32)) + jnp.sum(lse)

  arguments = [like(queries), like(keys), like(keys)]
  if options.pop("key_length", False):
    arguments.append(jax.ShapeDtypeStruct((1,), jnp.int32))
  return aot.compile_for(device, jax.grad(loss, (0, 1, 2)), *arguments)


def assert_both_kernels(compiled):
  text = compiled.as_text()
  for name in ("attention_forward", "attention_backward"):
    assert name in text, name


@pytest.mark.parametrize("target, queries, keys", TURNS)
def test_every_case_compiles(target, queries, keys):
  device = aot.tpu_devices(target)[0]
  assert device.device_kind in mosaic_tpu.TILES
  assert_both_kernels(compile_gradient(device, queries, keys))


@pytest.mark.long
@pytest.mark.parametrize("target, queries, keys", REST)
def test_every_case_compiles_for_every_generation(target, queries, keys):
  device = aot.tpu_devices(target)[0]
  assert_both_kernels(compile_gradient(device, queries, keys))


def test_key_lengths_and_float32_compile(tpu_device):
  compiled = compile_gradient(tpu_device, 1_288, 1_288, key_length=True)
  assert_both_kernels(compiled)
  # Six passes of the matrix units for each product: long code, so few rows.
  assert_both_kernels(compile_gradient(tpu_device, 300, 300, "float32"))


def test_head_width_64_and_little_arrays_compile(tpu_device):
  assert_both_kernels(compile_gradient(tpu_device, 300, 301, width=64))
  # Named, as "auto" leaves few keys to plain attention.
  options = {"width": 64, "key_length": True, "implementation": "mosaic_tpu"}
  assert_both_kernels(compile_gradient(tpu_device, 12, 5, "float32", **options))


def test_what_compiles_fits_in_vmem(tpu_device):
  tiles = mosaic_tpu.tiles_for(tpu_device.device_kind)
  like = jax.ShapeDtypeStruct((1, 2_048, 1, 128), jnp.bfloat16)

  def forward(q, k, v, vmem_bytes):
    # Inside, where the mesh says for which TPU.
    assert tiles.vmem_bytes <= pltpu.get_tpu_info().vmem_capacity_bytes
    limited = dataclasses.replace(tiles, vmem_bytes=vmem_bytes)
    return mosaic_tpu.forward(q, k, v, None, scale=1.0, tiles=limited)

  little = functools.partial(forward, vmem_bytes=2 << 20)
  with pytest.raises(jax.errors.JaxRuntimeError, match="vmem"):
    aot.compile_for(tpu_device, little, like, like, like)


@pytest.mark.parametrize("target", ["v5p:2x2x1", "v6e:2x2"])
def test_memory_is_linear_in_tokens(target):
  device, heads = aot.tpu_devices(target)[0], 12
  for tokens in (2_576, 5_152, 10_304, 20_608):
    compiled = compile_gradient(device, tokens, tokens, heads=heads)
    memory = compiled.memory_analysis()
    # The compiler may put temporaries where results go later.
    needed = memory.temp_size_in_bytes + memory.output_size_in_bytes
    # Three gradients, and four arrays like the queries' besides.
    assert needed <= 7.5 * tokens * heads * 128 * 2, (tokens, needed)


@pytest.mark.parametrize("target", ["v5p:2x2x1", "v6e:2x2"])
def test_bundles_are_close_to_those_of_splash_attention(target):
  aot.tpu_devices(target)  # Skips without libtpu.
  # In a process of its own: libtpu writes listings only if told when loaded.
  done = subprocess.run(
    [
      *(sys.executable, "benchmarks/tpu_bundles.py"),
      *("--targets", target, "--slices", "256:512"),
    ],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},  # It need not be installed.
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  lines = [json.loads(x) for x in done.stdout.splitlines() if x[:1] == "{"]
  assert [line["pass"] for line in lines] == ["forward", "backward"]
  for line in lines:
    assert line["ratio"] <= 1.15, line


def test_a_gpu_gets_a_program_of_its_own(hopper_device):
  case = cases.CASES["14b/self/10304/whole"]
  compiled = compile_gradient(hopper_device, case.queries, case.keys)
  # Linear memory: far below the scores of two heads in float32.
  scores = 2 * case.queries * case.keys * 4
  assert compiled.memory_analysis().temp_size_in_bytes < scores / 4
  assert "tpu_custom_call" not in compiled.as_text()
