"""Compiles the Hopper kernels without a GPU (`make test-aot`)."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from more4d_jax.kernels.norm_rotary import dispatch, reference
from tests.kernels import aot

KERNELS = {"norm_rotary_forward", "norm_rotary_backward"}


def compile_both(device, tokens, heads, head_dim, given):
  """Both passes as "auto" has them on a mesh of Hopper GPUs."""
  width = heads * head_dim

  def both(d_out, x, scale, angles, *square):
    def run(x, scale, *square):
      return dispatch.norm_rotary(
        *(x, scale, angles, *square), num_heads=heads, eps=1e-6
      )

    out, vjp = jax.vjp(run, x, scale, *square)
    return out, *vjp(d_out)

  like = jax.ShapeDtypeStruct
  arrays = [
    like((1, tokens, heads, head_dim), jnp.bfloat16),
    like((1, tokens, width), jnp.bfloat16),
    like((width,), jnp.float32),
    like((tokens, head_dim), jnp.float32),
    *([like((1, tokens), jnp.float32)] if given else []),
  ]
  return aot.compile_for(device, both, *arrays)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
  ("tokens", "heads", "head_dim"),
  [(9568, 12, 128), (10304, 40, 128), (301, 3, 64)],
)
def test_compiles_without_a_spill(
  hopper_device, capfd, monkeypatch, tokens, heads, head_dim, given
):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  compiled = compile_both(hopper_device, tokens, heads, head_dim, given)
  report = "".join(capfd.readouterr())
  names = re.findall(r"entry function '(\w+)_mosaic_gpu_kernel'", report)
  spills = re.findall(r"frame, (\d+) bytes spill stores", report)
  assert set(names) == KERNELS and len(spills) == len(names)
  assert all(size == "0" for size in spills), report
  text = compiled.as_text()
  assert all(name in text for name in KERNELS)


@pytest.mark.parametrize("dtype, kernels", [("bfloat16", 2), ("float32", 0)])
def test_heads_divided_over_a_mesh_of_hoppers(dtype, kernels):
  devices = np.array(aot.hopper_devices(2))
  mesh = jax.sharding.Mesh(devices, ("tensor",))

  def body(x, scale, angles):
    square = jax.lax.pmean(reference.mean_square(x), "tensor")
    return dispatch.norm_rotary(
      *(x, scale, angles, square), num_heads=2, eps=1e-6
    )

  run = jax.shard_map(
    body,
    mesh=mesh,
    in_specs=(P(None, None, "tensor"), P("tensor"), P()),
    out_specs=P(None, None, "tensor"),
  )

  def loss(*arrays):
    return jnp.sum(jnp.sin(run(*arrays).astype(jnp.float32)))

  shapes = ((1, 70, 256), dtype), ((256,), "float32"), ((70, 64), "float32")
  replicated = jax.sharding.NamedSharding(mesh, P())
  arrays = [
    jax.ShapeDtypeStruct(*shape, sharding=replicated) for shape in shapes
  ]
  with jax.set_mesh(mesh):
    gradient = jax.jit(jax.grad(loss, (0, 1)))
    text = gradient.lower(*arrays).compile().as_text()
  assert len([name for name in KERNELS if name in text]) == kernels
