"""Accelerators that are not there, to compile for.

libtpu from PyPI is the compiler of every TPU; jax's CUDA plugin compiles for
a GPU that a file describes. jax is imported inside the functions: what it and
libtpu read from the environment when they are loaded is set before.
"""

import importlib.util
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import jax

TPU_TARGETS = ("v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1")
GPUS_OF_A_HOST = 8
# The text of `str(xla_client.get_topology_for_devices(jax.devices())
# .target_config)` on a machine with an H200.
_HOPPER = pathlib.Path(__file__).with_name("hopper_target.pbtxt")
# What an H100 (SXM, 80 GB) has instead; the chip is the same.
_H100 = {
  "device_memory_size: 151397597184": "device_memory_size: 85520809984",
  "memory_bandwidth: 4800000000000": "memory_bandwidth: 3352320000000",
  "NVIDIA H200": "NVIDIA H100 80GB HBM3",
}
# libtpu otherwise asks a cloud's metadata server what machine this is, and
# one process keeps all others out.
_LIBTPU = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-16",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def missing_compiler(platform: str) -> str:
  """How to install the compiler of a platform; empty where it is there.

  Args:
    platform: "tpu", "cuda" or "cpu".
  """
  import jax

  if platform == "tpu" and importlib.util.find_spec("libtpu") is None:
    return f"pip install 'jax[tpu]=={jax.__version__}'"
  if platform == "cuda" and not _has_cuda():
    names = ("jax-cuda13-plugin", "jax-cuda13-pjrt")
    wanted = " ".join(f"{name}=={jax.__version__}" for name in names)
    return f"pip install --no-deps {wanted}"
  return ""


def _has_cuda() -> bool:
  names = ("jax_cuda13_plugin", "jax_cuda12_plugin")
  return any(importlib.util.find_spec(name) for name in names)


def list_tpu_instructions(folder: str | pathlib.Path) -> None:
  """Lets libtpu write listings of what it compiles; call it before jax loads.

  Args:
    folder: of the listings, `*-final_bundles.txt` among them.
  """
  os.environ["LIBTPU_INIT_ARGS"] = (
    f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
  )


def tpu_devices(target: str) -> Sequence["jax.Device"]:
  """Devices of a TPU slice, for example "v5p:2x2x1"; needs libtpu."""
  os.environ.update(_LIBTPU)
  from jax.experimental import topologies

  return topologies.get_topology_desc(
    platform="tpu", topology_name=target
  ).devices


def hopper_devices(
  count: int = 1, name: str = "h200"
) -> Sequence["jax.Device"]:
  """Devices of hosts with eight GPUs each; needs jax's CUDA plugin.

  Args:
    count: of GPUs, up to 8 or a multiple of it.
    name: "h200" or "h100".
  """
  from jax.experimental import topologies

  config = _HOPPER.read_text()
  if name == "h100":
    for old, new in _H100.items():
      config = config.replace(old, new)
  hosts = max(count // GPUS_OF_A_HOST, 1)
  return topologies.get_topology_desc(
    platform="cuda",
    target_config=config,
    topology=f"1x{hosts}x{count // hosts}",
  ).devices


def placed(
  mesh: "jax.sharding.Mesh",
  spec: "jax.sharding.PartitionSpec",
  memory: str = "device",
) -> "jax.sharding.NamedSharding":
  """Where a mesh has an array, in a kind of memory.

  The client of GPUs that are not there knows no kinds of memory, so that jax
  forgets the one of a sharding; its compiler knows them.
  """
  import jax

  sharding = jax.sharding.NamedSharding(mesh, spec, memory_kind=memory)
  if sharding.memory_kind == memory:
    return sharding

  class Placed(jax.sharding.NamedSharding):
    """A sharding whose kind of memory stays."""

    @property
    def memory_kind(self) -> str:
      """The kind."""
      return memory

  return Placed(mesh, spec)
