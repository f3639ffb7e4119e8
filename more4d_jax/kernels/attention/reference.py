"""Plain attention in float32: the definition of correct."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def key_mask(
  key_length: Int[Array, "B"], num_keys: int
) -> jax.Array:  # bool [B 1 1 M]
  """Returns True for the keys at an index below `key_length`."""
  index = jnp.arange(num_keys)[None, None, None, :]
  return index < key_length[:, None, None, None]


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
    key_length: keys at or beyond this index take no part; at least 1.
    scale: factor on the products of queries and keys.
  Returns: weighted values in the dtype of `q`.
  """
  q32, k32, v32 = (x.astype(jnp.float32) for x in (q, k, v))
  logits = scale * jnp.einsum("bnkd,bmkd->bknm", q32, k32)
  if key_length is not None:
    logits = jnp.where(key_mask(key_length, k.shape[1]), logits, -jnp.inf)
  weights = jax.nn.softmax(logits, axis=-1)
  return jnp.einsum("bknm,bmkd->bnkd", weights, v32).astype(q.dtype)
