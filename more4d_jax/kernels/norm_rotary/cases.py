"""Named shapes of the real models, for tests and benchmarks.

A case is what one device computes: of the tokens of attention's cases, its
part of the heads.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.kernels.attention import cases as attention


@dataclasses.dataclass(frozen=True)
class Case:
  """One norm and rotation on one device.

  Attributes:
    name: model/tokens/sharding.
    batch: samples.
    tokens: of a sample.
    heads: heads on the device.
    width: of one head.
  """

  name: str
  batch: int
  tokens: int
  heads: int
  width: int

  def reduced(self) -> "Case":
    """Returns a small case with the same ragged tail of 128 rows."""
    tokens = min(self.tokens, 256 + self.tokens % 128)
    return dataclasses.replace(self, tokens=tokens, heads=min(2, self.heads))


def _cases():
  for model, heads in attention.HEADS.items():
    for tokens in attention.TOKENS:
      for ways in attention.WAYS:
        if heads % ways == 0:
          sharding = f"tensor{ways}" if ways > 1 else "whole"
          name = f"{model}/{tokens}/{sharding}"
          yield Case(name, 1, tokens, heads // ways, attention.WIDTH)
  yield Case("narrow/301/whole", 1, 301, 3, 64)


CASES: dict[str, Case] = {case.name: case for case in _cases()}


def inputs(
  case: Case, dtype: jax.typing.DTypeLike, seed: int = 0
) -> tuple[
  Float[Array, "B N W"],
  Float[Array, "W"],
  Float[Array, "N D"],
  Float[Array, "B N K D"],
]:
  """Returns values, a scale near 1, angles, and a cotangent of the output."""
  keys = jax.random.split(jax.random.key(seed), 4)
  width = case.heads * case.width
  x = jax.random.normal(keys[0], (case.batch, case.tokens, width))
  scale = 1 + 0.1 * jax.random.normal(keys[1], (width,))
  turns = jax.random.uniform(
    keys[2], (case.tokens, case.width // 2), maxval=2 * jnp.pi
  )
  angles = jnp.concatenate([jnp.cos(turns), jnp.sin(turns)], axis=-1)
  d_out = jax.random.normal(keys[3], (*x.shape[:2], case.heads, case.width))
  return x.astype(dtype), scale, angles, d_out.astype(dtype)
