"""Times every attention implementation on every case, one JSON line each.

    python -m more4d_jax.kernels.attention.benchmark --cases '14b/self/*/whole'

A line holds milliseconds (the median of the repetitions), TFLOP/s by the count
of the products (two forward, five backward), the share of the device's peak
in bfloat16 where it is known, and the compiler's temporary memory. What the
device cannot run, or has no memory for, is reported with the reason.
`--reduced` shortens the cases to a few tiles for a machine without an
accelerator.
"""

import functools
import sys

import jax

from more4d_jax.kernels import timing
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


def measure(
  case: cases.Case, implementation: str, dtype: str, repetitions: int
) -> list[dict]:
  """Returns one line per pass; a line with "error" where it cannot run."""
  head = {
    "case": case.name,
    "queries": case.queries,
    "keys": case.keys,
    "heads": case.heads,
    "dtype": dtype,
    "implementation": implementation,
  }
  most = peak(jax.devices()[0].device_kind) if dtype == "bfloat16" else None

  def figures(name: str, seconds: float) -> dict[str, float]:
    flops = case.flops() + ("back" in name) * case.flops(backward=True)
    found = {"tflops": timing.rounded(flops / seconds / 1e12)}
    if most:
      found["share_of_peak"] = timing.rounded(found["tflops"] / most)
    return found

  run = functools.partial(dispatch.attention, implementation=implementation)
  arrays = cases.inputs(case, dtype)
  return timing.measure(head, run, arrays, repetitions, figures)


def main(arguments: list[str]) -> None:
  """Prints the lines of every case that matches."""
  benchmark = timing.Benchmark(
    __doc__, cases.CASES, "*/self/*/whole", dispatch.IMPLEMENTATIONS, measure
  )
  timing.main(arguments, benchmark)


if __name__ == "__main__":
  main(sys.argv[1:])
