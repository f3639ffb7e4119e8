"""Compiling kernels for real accelerators, without one (`make test-aot`).

The tests are in files named `*aot_test.py`; they are skipped where the
compilers of `more4d_jax.planning.absent_devices` are not installed.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from more4d_jax.planning import absent_devices

TPU_TARGETS = absent_devices.TPU_TARGETS


def _need(package, what):
  if importlib.util.find_spec(package) is None:
    pytest.skip(f"{what} ({package}) is not installed; run make test-aot")


def tpu_devices(target: str) -> Sequence[jax.Device]:
  """Devices of a TPU slice, for example "v5p:2x2x1"; skips without libtpu."""
  _need("libtpu", "TPU's compiler")
  return absent_devices.tpu_devices(target)


def hopper_devices(count: int = 1) -> Sequence[jax.Device]:
  """H200 devices of one host; skips without jax's CUDA plugin."""
  _need("jax_cuda13_plugin", "jax's compiler for CUDA")
  return absent_devices.hopper_devices(count)


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
