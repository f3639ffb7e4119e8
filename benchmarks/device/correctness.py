"""Every kernel on the real device against its float32 definition.

The error is the largest difference over the largest value of the reference;
bfloat16 keeps 8 bits, so that 2e-2 is what rounding of inputs, weights and
results together explains.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.device import measuring
from more4d_jax.kernels.attention import cases, dispatch, reference
from more4d_jax.kernels.norm_rotary import dispatch as norm_rotary
from more4d_jax.kernels.norm_rotary import reference as norm_reference

_BOUND = 2e-2
# Lengths of queries and keys: whole tiles, ragged tails, few keys.
_LENGTHS = {"self": (1024, 1024), "ragged": (745, 1001), "image": (640, 257)}


def _implementations() -> list[str]:
  kernels = {"gpu": "mosaic_gpu", "tpu": "mosaic_tpu"}
  platform = jax.devices()[0].platform
  return [kernels[platform], "auto"] if platform in kernels else ["plain"]


def _worst(found, expected) -> float:
  """Largest relative error over a tree of arrays."""
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected))
  return max(
    float(np.abs(np.asarray(a, np.float32) - b).max() / np.abs(b).max())
    for a, b in ((a, np.asarray(b, np.float32)) for a, b in pairs)
  )


def _attention(implementation: str, lengths: tuple[int, int], short: bool):
  """Errors of value and gradients."""
  queries, keys = (n // 4 for n in lengths) if short else lengths
  case = cases.Case("correctness", 2, queries, keys, 3)
  q, k, v, cotangent = cases.inputs(case, jnp.bfloat16)

  def ours(q, k, v):
    return dispatch.attention(q, k, v, implementation=implementation)

  definition = functools.partial(
    reference.attention, scale=dispatch.scale_or_default(None, case.width)
  )
  wide = [x.astype(jnp.float32) for x in (q, k, v)]
  with jax.default_matmul_precision("highest"):
    expected, expected_vjp = jax.vjp(definition, *wide)
    expected_gradients = expected_vjp(cotangent.astype(jnp.float32))
  found, vjp = jax.vjp(jax.jit(ours), q, k, v)
  return {
    "forward_error": _worst(found, expected),
    "gradient_error": _worst(vjp(cotangent), expected_gradients),
  }


def _norm(implementation: str, tokens: int):
  """Errors of value and gradients of norm and rotation."""
  heads, width = 4, 128
  keys = jax.random.split(jax.random.key(0), 4)
  x = jax.random.normal(keys[0], (2, tokens, heads * width), jnp.bfloat16)
  scale = 1 + 0.1 * jax.random.normal(keys[1], (heads * width,))
  angle = jax.random.uniform(keys[2], (tokens, width // 2), maxval=6.0)
  angles = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
  cotangent = jax.random.normal(keys[3], (2, tokens, heads, width))
  options = {"num_heads": heads, "eps": 1e-6}

  def ours(x, scale):
    return norm_rotary.norm_rotary(
      x, scale, angles, implementation=implementation, **options
    )

  def definition(x, scale):
    return norm_reference.norm_rotary(x, scale, angles, None, **options)

  expected, expected_vjp = jax.vjp(definition, x.astype(jnp.float32), scale)
  found, vjp = jax.vjp(jax.jit(ours), x, scale)
  return {
    "forward_error": _worst(found, expected),
    "gradient_error": _worst(
      vjp(cotangent.astype(found.dtype)), expected_vjp(cotangent)
    ),
  }


def main() -> None:
  """Prints a line for each kernel and length; wrong numbers end in status 1."""
  short = measuring.reduced(__doc__)
  wrong = 0

  def check(line, measure):
    nonlocal wrong
    with measuring.attempt(line):
      errors = measure()
      line |= {name: float(f"{value:.3g}") for name, value in errors.items()}
      line["right"] = max(errors.values()) <= _BOUND
    wrong += not line.get("right", True)

  with jax.set_mesh(measuring.device_mesh()):
    for implementation in _implementations():
      for name, lengths in _LENGTHS.items():
        line = {"kernel": "attention", "implementation": implementation}
        check(
          {**line, "lengths": name},
          lambda i=implementation, n=lengths: _attention(i, n, short),
        )
      check(
        {"kernel": "norm_rotary", "implementation": implementation},
        lambda i=implementation: _norm(i, 301),
      )
  if wrong:
    raise SystemExit(f"{wrong} results are wrong")


if __name__ == "__main__":
  main()
