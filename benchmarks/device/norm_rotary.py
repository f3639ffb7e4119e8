"""Norm, rotation and head layout of the real models: ours and plain JAX."""

import jax

from benchmarks.device import measuring
from more4d_jax.kernels.norm_rotary import benchmark, cases

_CASES = ("1p3b/10304/whole", "14b/10304/whole")


def main() -> None:
  """Prints a line for each case, implementation and pass."""
  short = measuring.reduced(__doc__)
  for name in _CASES:
    case = cases.CASES[name].reduced() if short else cases.CASES[name]
    for implementation in ("auto", "plain"):
      with jax.set_mesh(measuring.device_mesh()):
        found = benchmark.measure(case, implementation, "bfloat16", 20)
      for line in found:
        measuring.say(line)


if __name__ == "__main__":
  main()
