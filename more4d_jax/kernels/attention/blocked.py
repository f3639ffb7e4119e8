"""Attention in plain JAX that never holds all weights at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax.kernels.attention import reference

QUERY_BLOCK = 512


def _weights_times_values(q, k, v, mask, scale):
  """One block of queries: matrix products in their dtype, softmax float32."""
  logits = scale * jnp.einsum(
    "bnkd,bmkd->bknm", q, k, preferred_element_type=jnp.float32
  )
  if mask is not None:
    logits = jnp.where(mask, logits, -jnp.inf)
  weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
  return jnp.einsum("bknm,bmkd->bnkd", weights, v)


def attention(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  *,
  key_length: Int[Array, "B"] | None = None,
  scale: float,
  query_block: int = QUERY_BLOCK,
) -> Float[Array, "B N K D"]:
  """Attention over blocks of queries; weights are recomputed backwards.

  Holds `query_block * M` weights per head instead of `N * M`. A ragged last
  block is filled with zero queries whose results are dropped.

  Args:
    q: queries.
    k: keys.
    v: values.
    key_length: keys at or beyond this index take no part; at least 1.
    scale: factor on the products of queries and keys.
    query_block: queries handled at a time.
  """
  batch, num_queries, heads, depth = q.shape
  mask = None
  if key_length is not None:
    mask = reference.key_mask(key_length, k.shape[1])
  blocks = -(-num_queries // query_block)
  fill = blocks * query_block - num_queries
  q = jnp.pad(q, ((0, 0), (0, fill), (0, 0), (0, 0)))
  q = q.reshape(batch, blocks, query_block, heads, depth)
  one_block = jax.checkpoint(
    lambda block: _weights_times_values(block, k, v, mask, scale)
  )
  out = jax.lax.map(one_block, jnp.moveaxis(q, 1, 0))  # [blocks B n K D]
  out = jnp.moveaxis(out, 0, 1).reshape(batch, -1, heads, depth)
  return out[:, :num_queries]
