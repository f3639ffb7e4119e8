"""Times every attention implementation on every case, one JSON line each.

    python -m more4d_jax.kernels.attention.benchmark --cases '14b/self/*/whole'

A line holds milliseconds (the median of the repetitions), TFLOP/s by the count
of the products (two forward, five backward), the share of the device's peak
in bfloat16 where it is known, and the compiler's temporary memory. What the
device cannot run, or has no memory for, is reported with the reason.
`--reduced` shortens the cases to a few tiles for a machine without an
accelerator.
"""

import argparse
import fnmatch
import json
import statistics
import sys
import time

import jax

from more4d_jax.kernels.attention import cases, dispatch

# Dense bfloat16 TFLOP/s that the makers state, by start of the device kind.
PEAKS = {
  "NVIDIA H100": 989.0,
  "NVIDIA H100 NVL": 835.0,
  "NVIDIA H100 PCIe": 756.0,
  "NVIDIA H200": 989.0,
  "NVIDIA A100": 312.0,
  "TPU v5 lite": 197.0,
  "TPU v5": 459.0,
  "TPU v6 lite": 918.0,
  "TPU7x": 1153.0,
}


def peak(device_kind: str) -> float | None:
  """Returns TFLOP/s of the longest matching name, None if there is none."""
  names = [name for name in PEAKS if device_kind.startswith(name)]
  return PEAKS[max(names, key=len)] if names else None


def _passes(implementation):
  def run(q, k, v):
    return dispatch.attention(q, k, v, implementation=implementation)

  def forward(q, k, v, d_out):
    del d_out
    return run(q, k, v)

  def both(q, k, v, d_out):
    out, vjp = jax.vjp(run, q, k, v)
    return out, vjp(d_out)

  return {"forward": forward, "forward and backward": both}


def _seconds(compiled, arguments, repetitions):
  jax.block_until_ready(compiled(*arguments))
  times = []
  for _ in range(repetitions):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def _rounded(number):
  return float(f"{number:.4g}")


def measure(
  case: cases.Case, implementation: str, dtype: str, repetitions: int
) -> list[dict]:
  """Returns one line per pass; a line with "error" where it cannot run."""
  arguments = cases.inputs(case, dtype)
  device = jax.devices()[0].device_kind
  lines = []
  for name, function in _passes(implementation).items():
    line = {
      "case": case.name,
      "queries": case.queries,
      "keys": case.keys,
      "heads": case.heads,
      "dtype": dtype,
      "device": device,
      "implementation": implementation,
      "pass": name,
    }
    lines.append(line)
    try:
      compiled = jax.jit(function).lower(*arguments).compile()
      seconds = _seconds(compiled, arguments, repetitions)
    except (ValueError, NotImplementedError, RuntimeError) as error:
      line["error"] = str(error).splitlines()[0]
      continue
    flops = case.flops() + ("back" in name) * case.flops(backward=True)
    line["milliseconds"] = _rounded(seconds * 1e3)
    line["tflops"] = _rounded(flops / seconds / 1e12)
    if peak(device) and dtype == "bfloat16":
      line["share_of_peak"] = _rounded(line["tflops"] / peak(device))
    memory = compiled.memory_analysis()
    line["temporary_mib"] = _rounded(memory.temp_size_in_bytes / 2**20)
  return lines


def _parse(arguments: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--cases",
    default="*/self/*/whole",
    help="glob over the names of cases.py; default: %(default)s",
  )
  parser.add_argument(
    "--implementations",
    default=",".join(dispatch.IMPLEMENTATIONS),
    help="comma-separated; default: %(default)s",
  )
  parser.add_argument(
    "--dtype",
    default="bfloat16",
    choices=("bfloat16", "float16", "float32"),
  )
  parser.add_argument("--repetitions", type=int, default=10)
  parser.add_argument("--reduced", action="store_true")
  flags = parser.parse_args(arguments)
  flags.cases = fnmatch.filter(cases.CASES, flags.cases)
  if not flags.cases:
    parser.error(f"--cases matches none of {', '.join(cases.CASES)}")
  flags.implementations = flags.implementations.split(",")
  unknown = set(flags.implementations) - set(dispatch.IMPLEMENTATIONS)
  if unknown:
    parser.error(f"--implementations: unknown {', '.join(sorted(unknown))}")
  if flags.repetitions < 1:
    parser.error("--repetitions: expected 1 or more")
  return flags


def main(arguments: list[str]) -> None:
  """Prints the lines of every case that matches."""
  flags = _parse(arguments)
  # Kernels and tiles are chosen by the devices of the mesh.
  mesh = jax.make_mesh(
    (1,),
    ("data",),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:1],
  )
  for name in flags.cases:
    case = cases.CASES[name]
    if flags.reduced:
      case = case.reduced()
    for implementation in flags.implementations:
      with jax.set_mesh(mesh):
        lines = measure(case, implementation, flags.dtype, flags.repetitions)
      for line in lines:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
  main(sys.argv[1:])
