"""Compiles the TPU kernel for real TPUs, without one (`make test-aot`)."""

import importlib.util
import os

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies

from more4d_jax.kernels.attention import cases, dispatch

if importlib.util.find_spec("libtpu") is None:
  pytest.skip(
    "libtpu, TPU's compiler, is not installed; run make test-aot",
    allow_module_level=True,
  )

TARGETS = ("v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1")
SHORT = (
  ("14b/self/10304/whole", "bfloat16"),
  ("14b/image/10304/context8", "bfloat16"),
)


@pytest.fixture(scope="module", params=TARGETS)
def device(request):
  os.environ.update(
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-16",
    TPU_WORKER_HOSTNAMES="localhost",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
  )
  topology = topologies.get_topology_desc(
    platform="tpu", topology_name=request.param
  )
  return topology.devices[0]


def compile_gradient(device, queries, keys, dtype, width=128):
  sharding = jax.sharding.SingleDeviceSharding(device)

  def like(length):
    shape = 1, length, 2, width
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  lengths = jax.ShapeDtypeStruct((1,), jnp.int32, sharding=sharding)

  def loss(q, k, v, key_length):
    out, lse = dispatch.attention(
      q, k, v, key_length=key_length, return_lse=True
    )
    return jnp.sum(out.astype(jnp.float32)) + jnp.sum(lse)

  gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
  arguments = like(queries), like(keys), like(keys), lengths
  return gradient.lower(*arguments).compile()


def assert_both_kernels(compiled):
  text = compiled.as_text()
  for name in ("attention_forward", "attention_backward"):
    assert name in text, name


@pytest.mark.parametrize("name, dtype", SHORT)
def test_the_models_shapes_compile(device, name, dtype):
  case = cases.CASES[name]
  compiled = compile_gradient(device, case.queries, case.keys, dtype)
  assert_both_kernels(compiled)


def test_head_width_64_and_little_arrays_compile(device):
  assert_both_kernels(compile_gradient(device, 300, 301, "bfloat16", 64))
  assert_both_kernels(compile_gradient(device, 12, 5, "float32", 64))
