"""Norm, rotation and head layout of the real models: ours and plain JAX."""

import functools

import jax
import jax.numpy as jnp

from benchmarks.device import measuring
from more4d_jax.kernels.norm_rotary import dispatch

# Tokens, heads and their width.
_CASES = {"1p3b": (10304, 12, 128), "14b": (10304, 40, 128)}
_REDUCED = {"reduced": (256, 2, 64)}


def _passes(arguments, **options):
  """Name -> compiled call, and how often it moves the tensor."""
  run = functools.partial(dispatch.norm_rotary, eps=1e-6, **options)

  def both(x, scale, angles):
    out, vjp = jax.vjp(lambda x, scale: run(x, scale, angles), x, scale)
    return out, vjp(out)

  return {
    "forward": (functools.partial(jax.jit(run), *arguments), 2),
    "forward and backward": (functools.partial(jax.jit(both), *arguments), 5),
  }


def main() -> None:
  """Prints a line for each case, implementation and pass.

  `gb_a_second` counts one read and one write of the tensor forward, and two
  reads and one write more backward.
  """
  chosen = _REDUCED if measuring.reduced(__doc__) else _CASES
  for case, (tokens, heads, width) in chosen.items():
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (1, tokens, heads * width), jnp.bfloat16)
    arguments = (
      x,
      jnp.ones(heads * width),
      jax.random.uniform(keys[1], (tokens, width)),
    )
    for implementation in ("auto", "plain"):
      options = {"num_heads": heads, "implementation": implementation}
      for name, (run, moved) in _passes(arguments, **options).items():
        line = {"case": case, "implementation": implementation, "pass": name}
        with measuring.attempt(line), jax.set_mesh(measuring.device_mesh()):
          taken = measuring.seconds(run, 20)
          line["milliseconds"] = round(1e3 * taken, 4)
          line["gb_a_second"] = round(moved * x.nbytes / taken / 1e9, 1)


if __name__ == "__main__":
  main()
