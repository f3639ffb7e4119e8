"""Compiles attention for real accelerators, without one (`make test-aot`)."""

import jax
import jax.numpy as jnp
import pytest

from more4d_jax.kernels.attention import cases, dispatch
from tests.kernels import aot

SHORT = (
  ("14b/self/10304/whole", "bfloat16"),
  ("14b/image/10304/context8", "bfloat16"),
)


def compile_gradient(device, queries, keys, dtype, width=128):
  def like(length):
    return jax.ShapeDtypeStruct((1, length, 2, width), dtype)

  def loss(q, k, v, key_length):
    out, lse = dispatch.attention(
      q, k, v, key_length=key_length, return_lse=True
    )
    return jnp.sum(out.astype(jnp.float32)) + jnp.sum(lse)

  lengths = jax.ShapeDtypeStruct((1,), jnp.int32)
  gradient = jax.grad(loss, (0, 1, 2))
  arguments = like(queries), like(keys), like(keys), lengths
  return aot.compile_for(device, gradient, *arguments)


def assert_both_kernels(compiled):
  text = compiled.as_text()
  for name in ("attention_forward", "attention_backward"):
    assert name in text, name


@pytest.mark.parametrize("name, dtype", SHORT)
def test_the_models_shapes_compile(tpu_device, name, dtype):
  case = cases.CASES[name]
  compiled = compile_gradient(tpu_device, case.queries, case.keys, dtype)
  assert_both_kernels(compiled)


def test_head_width_64_and_little_arrays_compile(tpu_device):
  assert_both_kernels(compile_gradient(tpu_device, 300, 301, "bfloat16", 64))
  assert_both_kernels(compile_gradient(tpu_device, 12, 5, "float32", 64))


def test_a_gpu_gets_a_program_of_its_own(hopper_device):
  case = cases.CASES["14b/self/10304/whole"]
  compiled = compile_gradient(
    hopper_device, case.queries, case.keys, "bfloat16"
  )
  # Linear memory: far below the scores of two heads in float32.
  scores = 2 * case.queries * case.keys * 4
  assert compiled.memory_analysis().temp_size_in_bytes < scores / 4
  assert "tpu_custom_call" not in compiled.as_text()
