"""Registers, spills and shared memory of the attention kernels for Hopper.

Run from the repository, with jax's CUDA plugin installed (`make test-aot`
does):

    PYTHONPATH=. python benchmarks/hopper_compile.py [--cases '*']

It compiles forward and backward of every case for an H200 that is not there,
one JSON line for each kernel. Cases that differ only in heads are one: heads
count the blocks. One with heads of width 64 is added. Registers are those
that a thread starts with; the computing warpgroups then take 240 and the
copying one 24.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import sys
import tempfile
import time

from benchmarks import compiler_reports
from more4d_jax.planning import absent_devices


def _both(width):
  from more4d_jax.kernels.attention import mosaic_gpu

  def both(q, k, v, d_out, d_lse):
    outputs = mosaic_gpu.forward(q, k, v, None, scale=width**-0.5)
    return outputs, mosaic_gpu.backward(
      (q, k, v, None), outputs, (d_out, d_lse), scale=width**-0.5
    )

  return both


def measure(device, queries: int, keys: int, width: int) -> list[dict]:
  """Compiles one shape; returns a line for each kernel."""
  import jax

  sharding = jax.sharding.SingleDeviceSharding(device)

  def like(*shape, dtype="bfloat16"):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  q, k = like(1, queries, 1, width), like(1, keys, 1, width)
  lse = like(1, queries, 1, dtype="float32")
  lines = []
  with tempfile.TemporaryDirectory() as folder:
    compiler_reports.write_assembler_reports(folder)
    start = time.perf_counter()
    jax.jit(_both(width)).lower(q, k, k, q, lse).compile()
    seconds = time.perf_counter() - start
    shape = {"queries": queries, "keys": keys, "width": width}
    for figures in compiler_reports.assembler_figures(pathlib.Path(folder)):
      seconds_of_all = {"seconds_of_all_three": round(seconds, 1)}
      lines.append(shape | figures | seconds_of_all)
  return lines


def main(arguments: list[str]) -> None:
  """Prints the lines of every shape among the cases that match."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--cases", default="*", help="glob")
  flags = parser.parse_args(arguments)
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  from more4d_jax.kernels.attention import cases

  device = absent_devices.hopper_devices()[0]
  matching = fnmatch.filter(cases.CASES, flags.cases)
  found = [cases.CASES[name] for name in matching]
  shapes = {(x.queries, x.keys, x.width) for x in found}
  for shape in sorted(shapes | {(10_304, 10_304, 64)}):
    for line in measure(device, *shape):
      print(json.dumps(line), flush=True)


if __name__ == "__main__":
  main(sys.argv[1:])
