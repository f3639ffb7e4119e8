"""AdamW's moments in 16 or 8 bits.

Between two steps a moment of slow decay changes by less than these types can
tell apart, so that rounding to the nearest would keep it where it is for ever.
Rounding up or down is drawn instead, with the value as the mean.

Eight bits hold a logarithm: equal steps of `_OCTAVES` below the largest value
of a matrix. The share of small values that a linear scale loses would be
divided by in AdamW's update. Compare: 8-bit Optimizers via Block-wise
Quantization (arXiv 2110.02861), whose blocks do not follow a mesh.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int8, Key, UInt8

from more4d_jax import rng

_OCTAVES = {"mu": 21, "nu": 48}  # Values below are 0, or the least, see `_log`.
_LEVELS = {"mu": 127, "nu": 255}
_FEW = 4096  # Moments of smaller parameters stay in float32.


class Logarithms(NamedTuple):
  """One moment of all parameters.

  Attributes:
    levels: int8 with the sign, or uint8; float32 values of few parameters.
    scale: largest value of each matrix; 1 where values are float32.
  """

  levels: Any
  scale: Any


def stochastic_round(
  x: Float[Array, "..."], key: Key[Array, ""]
) -> Float[Array, "..."]:
  """float32 to bfloat16, up or down at random, with the value as the mean."""
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
  bits += jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
  kept = jax.lax.bitcast_convert_type(
    bits & jnp.uint32(0xFFFF0000), jnp.float32
  )
  return jnp.where(jnp.isfinite(x), kept, x).astype(jnp.bfloat16)


def round_tree(tree: Any, like: Any, key: Key[Array, ""]) -> Any:
  """Leaves in the types of another tree's; bfloat16 ones are drawn."""
  leaves, structure = jax.tree.flatten(tree)
  return structure.unflatten(
    stochastic_round(leaf, jax.random.fold_in(key, number))
    if kept.dtype == jnp.bfloat16
    else leaf.astype(kept.dtype)
    for number, (leaf, kept) in enumerate(
      zip(leaves, jax.tree.leaves(like), strict=True)
    )
  )


def _is_large(x: Array) -> bool:
  return x.ndim > 1 and x.size >= _FEW


def _value(level: Float[Array, "..."], name: str) -> Float[Array, "..."]:
  """Share of the largest value that a level above 0 stands for."""
  below = (_LEVELS[name] - level) / (_LEVELS[name] - 1)
  return jnp.exp2(-_OCTAVES[name] * below)


def encode(
  x: Float[Array, "..."], name: str, key: Key[Array, ""]
) -> tuple[Int8[Array, "..."] | UInt8[Array, "..."], Float[Array, "..."]]:
  """Levels of a matrix and its largest value, with as many axes.

  Args:
    x: float32; axes before the last two are those of stacked matrices.
    name: "mu", which has signs, or "nu", whose values above 0 stay above 0.
    key: of the draws.
  """
  size = jnp.abs(x)
  scale = jnp.max(size, axis=(-2, -1), keepdims=True)
  share = size / jnp.where(scale > 0, scale, 1.0)
  least = 2.0 ** -_OCTAVES[name]
  place = 1 + jnp.log2(jnp.maximum(share, least)) / _OCTAVES[name]
  place = 1 + (_LEVELS[name] - 1) * place
  low = jnp.clip(jnp.floor(place), 1, _LEVELS[name] - 1)
  bottom, top = _value(low, name), _value(low + 1, name)
  rise = (share - bottom) / (top - bottom)
  level = low + (jax.random.uniform(key, x.shape) < rise)
  if name == "nu":
    return jnp.where(x > 0, level, 0).astype(jnp.uint8), scale
  level = jnp.where(share >= least, level, 0)
  return (jnp.sign(x) * level).astype(jnp.int8), scale


def decode(
  levels: Int8[Array, "..."] | UInt8[Array, "..."],
  scale: Float[Array, "..."],
  name: str,
) -> Float[Array, "..."]:
  """The inverse of `encode` up to its rounding."""
  level = jnp.abs(levels.astype(jnp.float32))
  value = jnp.where(level > 0, _value(level, name), 0.0) * scale
  return jnp.where(levels < 0, -value, value)


def _pack(tree: Any, name: str, kind: str, key: Key[Array, ""]) -> Any:
  leaves, structure = jax.tree.flatten(tree)
  keys = [jax.random.fold_in(key, number) for number in range(len(leaves))]
  if kind == "bfloat16":
    return structure.unflatten(
      stochastic_round(x, mine) if _is_large(x) else x
      for x, mine in zip(leaves, keys)
    )
  pairs = [
    encode(x, name, mine)
    if _is_large(x)
    else (x, jnp.ones((1,) * x.ndim, jnp.float32))
    for x, mine in zip(leaves, keys)
  ]
  return Logarithms(*(structure.unflatten(part) for part in zip(*pairs)))


def _unpack(packed: Any, name: str, kind: str) -> Any:
  if kind == "bfloat16":
    return jax.tree.map(lambda x: x.astype(jnp.float32), packed)

  def one(levels: Array, scale: Array) -> Array:
    if levels.dtype == jnp.float32:
      return levels
    return decode(levels, scale, name)

  return jax.tree.map(one, packed.levels, packed.scale)


def in_few_bits(
  adam: optax.GradientTransformation, kind: str
) -> optax.GradientTransformation:
  """Adam whose state holds both moments in fewer bits.

  Args:
    adam: `optax.scale_by_adam`.
    kind: "bfloat16" or "8bit".
  """

  def packed(state: optax.ScaleByAdamState) -> optax.ScaleByAdamState:
    return state._replace(
      **{
        name: _pack(
          getattr(state, name), name, kind, rng.key(0, name, state.count)
        )
        for name in ("mu", "nu")
      }
    )

  def init(params: Any) -> optax.ScaleByAdamState:
    return packed(adam.init(params))

  def update(
    updates: Any, state: optax.ScaleByAdamState, params: Any = None
  ) -> tuple[Any, optax.ScaleByAdamState]:
    whole = state._replace(
      mu=_unpack(state.mu, "mu", kind), nu=_unpack(state.nu, "nu", kind)
    )
    updates, whole = adam.update(updates, whole, params)
    return updates, packed(whole)

  return optax.GradientTransformation(init, update)
