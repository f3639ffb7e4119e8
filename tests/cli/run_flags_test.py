"""Flags that say how networks are run."""

import pytest

from more4d_jax import errors, partitioning
from more4d_jax.cli import run_flags


def test_meshes_as_users_write_them():
  found = run_flags.read_mesh("fsdp=4, context=2")
  assert found == partitioning.MeshConfig(fsdp=4, context=2)
  assert run_flags.read_mesh("auto") == "auto"
  assert run_flags.read_mesh(None) is None


@pytest.mark.parametrize(
  "text", ["", "8", "fsdp=0", "fsdp=-1", "rows=2", "fsdp=2,fsdp=4", "data=2.5"]
)
def test_other_meshes_are_one_clear_line(text):
  with pytest.raises(errors.UserError, match="expected --mesh of auto or siz"):
    run_flags.read_mesh(text)


def test_offload_needs_a_host_with_memory_of_its_own():
  with pytest.raises(errors.UserError, match="a CPU's memory is the host's"):
    run_flags.options(run_flags.RunFlags(offload=True))


def test_flags_become_options():
  flags = run_flags.RunFlags("sequence", "data=2")
  found = run_flags.options(flags, batch=3)
  assert (found.batch, found.halves) == (3, "sequence")
  assert found.mesh == partitioning.MeshConfig(data=2)
