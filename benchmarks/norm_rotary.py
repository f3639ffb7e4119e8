"""Traffic and instructions of norm and rotation on accelerators not there.

Run from the repository, with the compilers of `make test-aot` installed:

    PYTHONPATH=. python benchmarks/norm_rotary.py [--targets v6e:2x2,h200]

It compiles both passes in bfloat16 and prints a JSON line for each. On TPUs,
for the kernel and plain JAX: the bytes that XLA says are accessed, as
multiples of those of the tensor, and the CPU seconds of the compiler; for the
kernel also the bundles (very long instructions, one per cycle without stalls)
that one grid step executes. The result is laid out as the attention kernel
reads it. On the H200: the registers of a thread, the bytes that it spills and
the shared memory of a block, where the kernel computes the mean of squares,
where it is an argument, and with heads of 64.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

from benchmarks import compiler_reports
from more4d_jax.planning import absent_devices

TARGETS = ",".join((*absent_devices.TPU_TARGETS, "h200"))
CASES = ("1p3b/9568/whole", "14b/10304/whole")
NARROW = "narrow/301/whole"


def lower_pass(room, device, case: str, name: str, given):
  """One pass, not compiled yet.

  Args:
    room: module of the implementation.
    device: of a topology.
    case: a name of the kernel's cases.
    name: "forward" or "backward".
    given: whether the mean of squares is an argument.
  """
  import jax
  import jax.numpy as jnp

  from more4d_jax.kernels.norm_rotary import cases

  found = cases.CASES[case]
  tokens, heads, head_dim = found.tokens, found.heads, found.width
  options = {"num_heads": heads, "eps": 1e-6}

  def forward(x, scale, angles, square=None):
    out = room.forward((x, scale, angles, square), **options)
    return jnp.swapaxes(out, 1, 2)

  def backward(d_out, x, scale, angles, square=None):
    inputs = x, scale, angles, square
    return room.backward(inputs, jnp.swapaxes(d_out, 1, 2), **options)

  sharding = jax.sharding.SingleDeviceSharding(device)
  shapes = [
    ((1, heads, tokens, head_dim), jnp.bfloat16),
    ((1, tokens, heads * head_dim), jnp.bfloat16),
    ((heads * head_dim,), jnp.float32),
    ((tokens, head_dim), jnp.float32),
    *([((1, tokens), jnp.float32)] if given else []),
  ]
  arrays = [
    jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    for shape, dtype in shapes
  ]
  if name == "forward":
    return jax.jit(forward).lower(*arrays[1:])
  return jax.jit(backward).lower(*arrays)


def measure_tpu(target: str, folder: pathlib.Path):
  """Yields the lines of one TPU."""
  import jax.numpy as jnp

  from more4d_jax.kernels.norm_rotary import cases, mosaic_tpu, plain

  device = absent_devices.tpu_devices(target)[0]
  for case in CASES:
    tokens = cases.CASES[case].tokens
    width = cases.CASES[case].heads * cases.CASES[case].width
    for name in ("forward", "backward"):
      for room in (plain, mosaic_tpu):
        lowered = lower_pass(room, device, case, name, given=False)
        start = time.process_time()
        program = lowered.compile()
        seconds = time.process_time() - start
        moved = program.cost_analysis()["bytes accessed"]
        line = {
          "case": case,
          "pass": name,
          "implementation": room.__name__.split(".")[-1],
          "tensors_moved": round(moved / (2 * tokens * width), 2),
          "compiler_cpu_seconds": round(seconds, 1),
        }
        if room is mosaic_tpu:
          listing = compiler_reports.take_bundles(folder, f"norm_rotary_{name}")
          line["bundles"] = compiler_reports.executed_bundles(listing)
          line["rows"] = mosaic_tpu.tile_rows(tokens, width, jnp.bfloat16)
        yield line


def measure_hopper(folder: pathlib.Path):
  """Yields the lines of an H200."""
  from more4d_jax.kernels.norm_rotary import mosaic_gpu

  compiler_reports.write_assembler_reports(folder)
  device = absent_devices.hopper_devices()[0]
  for case in (*CASES, NARROW):
    for given in (False, True):
      for name in ("forward", "backward"):
        lower_pass(mosaic_gpu, device, case, name, given).compile()
        for figures in compiler_reports.assembler_figures(folder):
          yield {"case": case, "given": given, **figures}


def main() -> None:
  """Prints the lines of each target."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--targets", default=TARGETS)
  flags = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = "cpu"
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    absent_devices.list_tpu_instructions(folder)
    for target in flags.targets.split(","):
      hopper = target == "h200"
      lines = measure_hopper(folder) if hopper else measure_tpu(target, folder)
      for line in lines:
        print(json.dumps({"target": target, **line}), flush=True)


if __name__ == "__main__":
  main()
