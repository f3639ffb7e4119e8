"""Plain attention in float32: the definition of correct."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def key_mask(
  key_length: Int[Array, "B"], num_keys: int
) -> Bool[Array, "B 1 1 M"]:
  """Returns True for the keys at an index below `key_length`."""
  index = jnp.arange(num_keys)[None, None, None, :]
  return index < key_length[:, None, None, None]


def drop_masked(
  x: Float[Array, "B M K D"], key_length: Int[Array, "B"] | None
) -> Float[Array, "B M K D"]:
  """Zeroes keys or values that take no part, so that NaN there is harmless."""
  if key_length is None:
    return x
  keep = jnp.moveaxis(key_mask(key_length, x.shape[1]), -1, 1)  # [B M 1 1]
  return jnp.where(keep, x, 0)


def attention(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  *,
  key_length: Int[Array, "B"] | None = None,
  scale: float,
) -> Float[Array, "B N K D"]:
  """Softmax attention with every intermediate value in float32.

  Args:
    q: queries.
    k: keys.
    v: values.
    key_length: keys at or beyond this index take no part.
    scale: factor on the products of queries and keys.
  Returns: weighted values in the dtype of `q`.
  """
  return attention_and_lse(q, k, v, key_length=key_length, scale=scale)[0]


def attention_and_lse(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  *,
  key_length: Int[Array, "B"] | None = None,
  scale: float,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N K"]]:
  """Attention and, per query, the logarithm of its softmax denominator.

  float64 inputs keep their precision, everything else runs in float32. A
  sample without valid keys gives zeros and minus infinity.

  Returns: weighted values in the dtype of `q`; log of the sum of exponentials
    of the scaled logits, float32.
  """
  dtype = jnp.promote_types(q.dtype, jnp.float32)
  k, v = (drop_masked(x, key_length).astype(dtype) for x in (k, v))
  logits = scale * jnp.einsum(
    "bnkd,bmkd->bknm", q.astype(dtype), k, precision=jax.lax.Precision.HIGHEST
  )
  if key_length is not None:
    logits = jnp.where(key_mask(key_length, k.shape[1]), logits, -jnp.inf)
  top = jnp.maximum(jnp.max(logits, axis=-1, keepdims=True), -1e30)
  top = jax.lax.stop_gradient(top)
  weights = jnp.exp(logits - top)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  any_key = total > 0
  total = jnp.where(any_key, total, 1)
  out = jnp.einsum(
    "bknm,bmkd->bnkd", weights / total, v, precision=jax.lax.Precision.HIGHEST
  )
  lse = jnp.where(any_key, top + jnp.log(total), -jnp.inf)[..., 0]
  return out.astype(q.dtype), jnp.moveaxis(lse, 1, 2)
