"""Compiling kernels for real accelerators, without one (`make test-aot`).

libtpu from PyPI is the compiler of every TPU; jax's CUDA plugin compiles for
a GPU that a file describes. The tests are in files named `*aot_test.py`.
"""

import importlib.util
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental import topologies

TPU_TARGETS = ("v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1")
# The text of `str(xla_client.get_topology_for_devices(jax.devices())
# .target_config)` on a machine with an H200.
_H200 = pathlib.Path(__file__).with_name("h200_target_config.pbtxt")
# libtpu otherwise asks a cloud's metadata server what machine this is, and
# one process keeps all others out.
ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-16",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def _need(package, what):
  if importlib.util.find_spec(package) is None:
    pytest.skip(f"{what} ({package}) is not installed; run make test-aot")


def tpu_devices(target: str) -> Sequence[jax.Device]:
  """Devices of a TPU slice, for example "v5p:2x2x1"; skips without libtpu."""
  _need("libtpu", "TPU's compiler")
  os.environ.update(ENVIRONMENT)
  return topologies.get_topology_desc(
    platform="tpu", topology_name=target
  ).devices


def hopper_devices(count: int = 1) -> Sequence[jax.Device]:
  """H200 devices of one host; skips without jax's CUDA plugin."""
  _need("jax_cuda13_plugin", "jax's compiler for CUDA")
  return topologies.get_topology_desc(
    platform="cuda",
    target_config=_H200.read_text(),
    topology=f"1x1x{count}",
  ).devices


def compile_for(
  device: jax.Device, function: Callable[..., Any], *arguments: Any
) -> jax.stages.Compiled:
  """Compiles `function` for one device, on a mesh that names its kind.

  Args:
    device: of one of the topologies above.
    function: to be jitted.
    *arguments: trees of anything with a shape and a dtype.
  """
  mesh = jax.sharding.Mesh(np.array([device]), ("data",))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  arguments = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    arguments,
  )
  with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    return jax.jit(function).lower(*arguments).compile()
