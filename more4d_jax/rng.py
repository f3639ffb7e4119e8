"""Random keys named by what they are for.

Every key is folded from (seed, purpose, step), so a resumed run draws what the
uninterrupted one would have drawn, and adding a purpose changes no other draw.
"""

import hashlib
import zlib

import jax
from jaxtyping import Array, Int, Key

from more4d_jax import plausibility


def key(
  seed: int, purpose: str, step: int | Int[Array, ""] = 0
) -> Key[Array, ""]:
  """Returns the key for one purpose at one step.

  Args:
    seed: the run's seed.
    purpose: a name such as "noise" or "dropout"; its CRC-32 is folded in.
    step: training step or sample number, a Python or traced integer.

  Raises:
    UserError: unless the seed has at most 63 bits.
  """
  upper, lower = divmod(plausibility.seed(seed), 2**31)
  root = jax.random.key(lower)  # Of more bits jax would drop the upper ones.
  if upper:
    root = jax.random.fold_in(root, upper)
  named = jax.random.fold_in(root, zlib.crc32(purpose.encode()))
  return jax.random.fold_in(named, step)


def sample_seed(seed: int, number: int) -> int:
  """The seed of one of several samples of the same thing.

  Args:
    seed: of the first sample, which has number 0 and this seed itself.
    number: of the sample.

  Raises:
    UserError: unless the seed has at most 63 bits.
  """
  plausibility.seed(seed)
  if not number:
    return seed
  digest = hashlib.sha256(f"sample {number} of seed {seed}".encode()).digest()
  return int.from_bytes(digest[:8]) >> 1
