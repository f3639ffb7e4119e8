"""Accelerators that are not there, to compile for.

libtpu from PyPI is the compiler of every TPU; jax's CUDA plugin compiles for
a GPU that a file describes (`make test-aot` installs both). jax is imported
inside the functions: what it and libtpu read from the environment when they
are loaded is set before.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import jax

TPU_TARGETS = ("v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1")
# The text of `str(xla_client.get_topology_for_devices(jax.devices())
# .target_config)` on a machine with an H200.
_H200 = pathlib.Path(__file__).with_name("h200_target_config.pbtxt")
# libtpu otherwise asks a cloud's metadata server what machine this is, and
# one process keeps all others out.
_LIBTPU = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-16",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


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


def hopper_devices(count: int = 1) -> Sequence["jax.Device"]:
  """H200 devices of one host; needs jax's CUDA plugin."""
  from jax.experimental import topologies

  return topologies.get_topology_desc(
    platform="cuda",
    target_config=_H200.read_text(),
    topology=f"1x1x{count}",
  ).devices
