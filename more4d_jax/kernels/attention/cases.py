"""Named attention shapes of the real models, for tests and benchmark.

A case is what one device computes. Tokens: 13 x 23 x 32 latent patches of 49
frames at 368 x 512, and 23 x 32 more where the first image rides along.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HEADS = {"1p3b": 12, "14b": 40}
WIDTH = 128
_VIDEO_TOKENS = 13 * 23 * 32  # 9,568
_REFERENCE_TOKENS = 23 * 32
TOKENS = (_VIDEO_TOKENS + _REFERENCE_TOKENS, _VIDEO_TOKENS)
WAYS = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Case:
  """One attention call on one device.

  Attributes:
    name: model/layer/tokens/sharding.
    batch: samples.
    queries: number of queries.
    keys: number of keys.
    heads: heads on the device.
    width: of one head.
  """

  name: str
  batch: int
  queries: int
  keys: int
  heads: int
  width: int = WIDTH

  def reduced(self, tokens: int = 384, heads: int = 1) -> "Case":
    """Returns a small case with the same ragged tails of 128-row tiles."""

    def shorter(length):
      if length <= tokens:
        return length
      return tokens // 128 * 128 - 128 + length % 128

    return dataclasses.replace(
      self,
      queries=shorter(self.queries),
      keys=shorter(self.keys),
      heads=min(heads, self.heads),
    )

  def flops(self, *, backward: bool = False) -> int:
    """Operations of the products: two forward, five backward."""
    product = 2 * self.batch * self.heads * self.queries * self.keys
    return product * self.width * (5 if backward else 2)


def _cases():
  for model, heads in HEADS.items():
    for tokens in TOKENS:
      layers = {"self": tokens, "text": 512, "image": 257}
      for layer, keys in layers.items():
        name = f"{model}/{layer}/{tokens}"
        for ways in WAYS:
          if heads % ways == 0:  # Heads over `tensor`, or Ulysses.
            sharding = f"tensor{ways}" if ways > 1 else "whole"
            yield Case(f"{name}/{sharding}", 1, tokens, keys, heads // ways)
          if ways > 1:  # One step of a ring, or queries over `context`.
            here = -(-tokens // ways)
            step_keys = here if layer == "self" else keys
            yield Case(f"{name}/context{ways}", 1, here, step_keys, heads)


CASES: dict[str, Case] = {case.name: case for case in _cases()}


def inputs(
  case: Case, dtype: jax.typing.DTypeLike, seed: int = 0
) -> tuple[
  Float[Array, "B N K D"],
  Float[Array, "B M K D"],
  Float[Array, "B M K D"],
  Float[Array, "B N K D"],
]:
  """Returns normal queries, keys, values and a cotangent of the output."""
  keys = jax.random.split(jax.random.key(seed), 4)
  lengths = case.queries, case.keys, case.keys, case.queries
  return tuple(
    jax.random.normal(
      key, (case.batch, length, case.heads, case.width), jnp.float32
    ).astype(dtype)
    for key, length in zip(keys, lengths)
  )
