"""Times norm and rotation of every implementation, one JSON line each.

    python -m more4d_jax.kernels.norm_rotary.benchmark --cases '14b/*/whole'

A line holds milliseconds (the median of the repetitions), GB/s, and the
compiler's temporary memory. Counted are one read and one write of the tensor
forward, and two reads and one write more backward. What the device cannot
run, or has no memory for, is reported with the reason. `--reduced` shortens
the cases to a few tiles for a machine without an accelerator.
"""

import functools
import sys

from more4d_jax.kernels import timing
from more4d_jax.kernels.norm_rotary import cases, dispatch

_EPS = 1e-6
_TENSORS_MOVED = {"forward": 2, "forward and backward": 5}


def measure(
  case: cases.Case, implementation: str, dtype: str, repetitions: int
) -> list[dict]:
  """Returns one line per pass; a line with "error" where it cannot run."""
  head = {
    "case": case.name,
    "tokens": case.tokens,
    "heads": case.heads,
    "dtype": dtype,
    "implementation": implementation,
  }
  x, scale, angles, d_out = cases.inputs(case, dtype)
  run = functools.partial(
    dispatch.norm_rotary,
    angles=angles,
    num_heads=case.heads,
    eps=_EPS,
    implementation=implementation,
  )

  def figures(name: str, seconds: float) -> dict[str, float]:
    moved = _TENSORS_MOVED[name] * x.nbytes
    return {"gb_a_second": timing.rounded(moved / seconds / 1e9)}

  return timing.measure(head, run, (x, scale, d_out), repetitions, figures)


def main(arguments: list[str]) -> None:
  """Prints the lines of every case that matches."""
  benchmark = timing.Benchmark(
    __doc__, cases.CASES, "*/whole", dispatch.IMPLEMENTATIONS, measure
  )
  timing.main(arguments, benchmark)


if __name__ == "__main__":
  main(sys.argv[1:])
