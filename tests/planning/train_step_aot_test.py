"""Train steps planned with the compilers of TPUs and GPUs (`make test-aot`)."""

import dataclasses

import jax
import pytest

from more4d_jax import partitioning
from more4d_jax.experiment import plan
from more4d_jax.planning import absent_devices, devices, programs, report
from tests.experiment import configurations


def _plan(name, group, **mesh):
  group = devices.parse(group)
  if absent_devices.missing_compiler(group.kind.platform):
    pytest.skip(f"no compiler for {group.name}; run make test-aot")
  task = configurations.task(name, batch_size=8)
  if mesh:
    config = dataclasses.replace(
      task.config, mesh=partitioning.MeshConfig(**mesh)
    )
    task = type(task)(config)
  return plan.plan(task, group)


@pytest.mark.parametrize(
  ("group", "mesh"),
  [
    ("v5e-8", {"data": 2, "fsdp": 4}),
    ("h100-1", {}),
    pytest.param("h200-8", {"fsdp": 8}, marks=pytest.mark.long),
  ],
)
def test_depth(group, mesh):
  found = _plan("depth", group, **mesh)
  assert found.fits and found.figures.temporaries > 0
  assert found.compute_seconds > 0
  assert bool(found.figures.traffic) == bool(mesh)
  assert "virtual" not in report.table(found)


@pytest.mark.long
@pytest.mark.parametrize("group", ["v5p-8", "v6e-8", "tpu7x-4"])
def test_every_axis_divides_a_transformer(group):
  mesh = {"fsdp": 2, "context": 2, "tensor": 2}
  found = _plan("strag", group, **mesh)
  assert found.fits
  assert "collective-permute" in found.figures.traffic


def test_memory_that_is_too_small_is_reported():
  group = devices.parse("v5e-1")
  if absent_devices.missing_compiler("tpu"):
    pytest.skip("no compiler for TPUs; run make test-aot")
  # 8 GiB, and their doubles, on a chip of 15.75.
  opened, _ = devices.open_devices(group)
  mesh = partitioning.make_mesh(partitioning.MeshConfig(), opened)
  whole = partitioning.replicated(mesh)
  shape = jax.ShapeDtypeStruct((1 << 31,), "float32", sharding=whole)
  program = programs.Program(
    "doubling",
    mesh,
    lambda: jax.jit(lambda x: 2 * x).trace(shape),
    {"x": shape},
  )
  figures = programs.compile_program(program)
  assert figures.refused >= 16 * 2**30 > group.memory
