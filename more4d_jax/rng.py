"""Random keys named by what they are for.

Every key is folded from (seed, purpose, step), so a resumed run draws what the
uninterrupted one would have drawn, and adding a purpose changes no other draw.
"""

import zlib

import jax
from jaxtyping import Array, Int, Key

from more4d_jax import errors


def key(
  seed: int, purpose: str, step: int | Int[Array, ""] = 0
) -> Key[Array, ""]:
  """Returns the key for one purpose at one step.

  Args:
    seed: the run's seed.
    purpose: a name such as "noise" or "dropout"; its CRC-32 is folded in.
    step: training step or sample number, a Python or traced integer.

  Raises:
    UserError: if the seed has more than 32 bits; jax would drop the others.
  """
  if not -(2**31) <= seed < 2**31:
    raise errors.UserError(
      f"expected a seed of {-(2**31)} to {2**31 - 1}, found {seed}: choose a "
      "smaller one"
    )
  named = jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
  return jax.random.fold_in(named, step)
