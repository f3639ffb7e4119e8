"""Attention in plain JAX that never holds all weights at once.

Both passes walk over blocks of queries and meet all keys in each step. The
forward pass keeps the log-sum-exp, from which the backward pass forms the
weights again, so that memory grows with the number of tokens and not with its
square.

A step works on all samples and heads together, as accelerators like it, or on
one head (`apart`): products of several matrices at once run at half the speed
of one large product on a CPU.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax.kernels.attention import reference

# Weights in one step over all samples and heads: 4 MiB in float32, which stays
# in the cache of a CPU. Fewer than 64 queries starve the matrix products.
_STEP_WEIGHTS = 1 << 20
_SMALLEST_BLOCK = 64
_LARGEST_BLOCK = 512
_MULTIPLE = 16  # Of queries, so that no vector is cut.
_FEW_WEIGHTS = 1 << 14  # Of a head: too few for a step of its own.


def query_block(weights_per_query: int, num_queries: int) -> int:
  """Returns how many queries one step takes, in steps of about one size."""
  block = _STEP_WEIGHTS // max(weights_per_query, 1)
  block = min(max(block, _SMALLEST_BLOCK), _LARGEST_BLOCK)
  even = num_queries / math.ceil(num_queries / block)
  return min(math.ceil(even / _MULTIPLE) * _MULTIPLE, num_queries)


def apart(run: Callable[..., Any]) -> Callable[..., Any]:
  """A pass that works on one head at a time where that is enough for a step.

  Args:
    run: `forward` or `backward` with its scale. Its arrays are [B N K ...], or
      [B] if they are by samples; the first two are queries and keys.
  """

  def by_heads(*arrays: Any) -> Any:
    q, k = jax.tree.leaves(arrays)[:2]
    batch, num_queries, heads, _ = q.shape
    if batch * heads == 1 or num_queries * k.shape[1] <= _FEW_WEIGHTS:
      return run(*arrays)
    parts = jax.tree.map(functools.partial(_heads_as_samples, heads), arrays)
    found = jax.lax.map(lambda one: run(*one), parts)
    return jax.tree.map(functools.partial(_samples_as_heads, heads), found)

  return by_heads


def _heads_as_samples(heads, x):
  """[B N K ...] -> [B*K 1 N 1 ...], and [B] -> [B*K 1]."""
  if x.ndim == 1:
    return jnp.repeat(x, heads)[:, None]
  x = jnp.swapaxes(x, 1, 2)
  return x.reshape(-1, 1, x.shape[2], 1, *x.shape[3:])


def _samples_as_heads(heads, x):
  """[B*K 1 N 1 ...] -> [B N K ...]."""
  return jnp.swapaxes(x.reshape(-1, heads, x.shape[2], *x.shape[4:]), 1, 2)


def _product(equation, *arrays):
  """Matrix product that accumulates in float32; exact operands stay exact."""
  return jnp.einsum(
    equation,
    *arrays,
    preferred_element_type=jnp.promote_types(arrays[0].dtype, jnp.float32),
    precision=jax.lax.Precision.HIGHEST
    if arrays[0].dtype == jnp.float32
    else None,
  )


def _to_blocks(x, block):
  """[B N K D] -> [steps B K block D]; the last block ends in zeros."""
  batch, length, heads, depth = x.shape
  steps = -(-length // block)
  x = jnp.pad(x, ((0, 0), (0, steps * block - length), (0, 0), (0, 0)))
  x = x.reshape(batch, steps, block, heads, depth)
  return jnp.transpose(x, (1, 0, 3, 2, 4))


def _from_blocks(x, length):
  """[steps B K block D] -> [B N K D]."""
  steps, batch, heads, block, depth = x.shape
  x = jnp.transpose(x, (1, 0, 3, 2, 4))
  return x.reshape(batch, steps * block, heads, depth)[:, :length]


def _keys_first(x, key_length):
  """[B M K D] -> [B K M D], zero where masked."""
  return jnp.swapaxes(reference.drop_masked(x, key_length), 1, 2)


def _logits(q, k, valid, scale):
  logits = scale * _product("bknd,bkmd->bknm", q, k)
  return logits if valid is None else jnp.where(valid, logits, -jnp.inf)


def _valid(key_length, num_keys):
  if key_length is None:
    return None
  return reference.key_mask(key_length, num_keys)


def forward(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  key_length: Int[Array, "B"] | None,
  *,
  scale: float,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N K"]]:
  """Returns the weighted values and the log-sum-exp of every query.

  Matrix products run in the dtype of the inputs, the softmax in float32. A
  sample without valid keys gives zeros and minus infinity.
  """
  batch, num_queries, heads, _ = q.shape
  num_keys = k.shape[1]
  block = query_block(batch * heads * num_keys, num_queries)
  valid = _valid(key_length, num_keys)
  k, v = _keys_first(k, key_length), _keys_first(v, key_length)

  def step(_, q):  # [B K n D]
    logits = _logits(q, k, valid, scale)
    top = jnp.maximum(jnp.max(logits, axis=-1, keepdims=True), -1e30)
    weights = jnp.exp(logits - top)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    out = _product("bknm,bkmd->bknd", weights.astype(v.dtype), v)
    out = out / jnp.where(total > 0, total, 1)
    return None, (out.astype(q.dtype), top + jnp.log(total))

  blocks = _to_blocks(q, block)
  _, (out, lse) = jax.lax.scan(step, None, blocks, unroll=len(blocks) == 1)
  return _from_blocks(out, num_queries), _from_blocks(lse, num_queries)[..., 0]


def backward(
  inputs: tuple[Array, Array, Array, Array | None],
  outputs: tuple[Float[Array, "B N K D"], Float[Array, "B N K"]],
  cotangents: tuple[Float[Array, "B N K D"], Float[Array, "B N K"]],
  *,
  scale: float,
) -> tuple[
  Float[Array, "B N K D"], Float[Array, "B M K D"], Float[Array, "B M K D"]
]:
  """Returns the gradients of queries, keys and values.

  Args:
    inputs: q, k, v and key_length, as given to `forward`.
    outputs: what `forward` returned.
    cotangents: of both outputs.
    scale: factor on the products of queries and keys.
  """
  q, k, v, key_length = inputs
  batch, num_queries, heads, _ = q.shape
  num_keys = k.shape[1]
  block = query_block(batch * heads * num_keys, num_queries)
  valid = _valid(key_length, num_keys)
  valid = None if valid is None else jnp.swapaxes(valid, 2, 3)  # [B 1 M 1]
  dtypes = q.dtype, k.dtype, v.dtype
  k, v = _keys_first(k, key_length), _keys_first(v, key_length)
  k_columns = jnp.swapaxes(k, 2, 3)  # [B K D M]
  out, lse = outputs
  d_out, d_lse = cotangents
  shift = jnp.sum(d_out.astype(lse.dtype) * out, axis=-1) - d_lse
  # Filled queries have zero cotangents; a finite value keeps 0 * exp finite.
  lse = jnp.where(jnp.isfinite(lse), lse, 0)

  # Weights are held with the keys first, [B K M n]: then every product but
  # that of d_q reads both factors as they lie, and d_q is formed as columns.
  def step(sums, block_inputs):
    d_k, d_v = sums
    q, d_out, lse, shift = block_inputs  # Statistics are [B K 1 n].
    logits = scale * _product("bkmd,bknd->bkmn", k, q)
    logits = logits if valid is None else jnp.where(valid, logits, -jnp.inf)
    weights = jnp.exp(logits - lse)
    d_v += _product("bkmn,bknd->bkmd", weights.astype(d_out.dtype), d_out)
    d_weights = _product("bkmd,bknd->bkmn", v, d_out)
    d_logits = (weights * (d_weights - shift) * scale).astype(q.dtype)
    d_k += _product("bkmn,bknd->bkmd", d_logits, q)
    if q.dtype == jnp.float32:
      d_q = _product("bkdm,bkmn->bkdn", k_columns, d_logits)
      d_q = jnp.swapaxes(d_q, 2, 3)
    else:  # XLA's CPU lacks that in bfloat16 with several samples and heads.
      d_q = _product("bkmn,bkmd->bknd", d_logits, k)
    return (d_k, d_v), d_q.astype(q.dtype)

  # Inside shard_map the sums vary over the mesh axes that the keys do.
  zeros, axes = jnp.zeros(k.shape, lse.dtype), jax.typeof(k).manual_axis_type
  if axes.varying:
    zeros = jax.lax.pcast(zeros, tuple(axes.varying), to="varying")
  blocks = [_to_blocks(x, block) for x in (q, d_out)]
  blocks += [
    jnp.swapaxes(_to_blocks(x[..., None], block), -1, -2) for x in (lse, shift)
  ]
  (d_k, d_v), d_q = jax.lax.scan(
    step, (zeros, zeros), tuple(blocks), unroll=len(blocks[0]) == 1
  )
  d_k, d_v = jnp.swapaxes(d_k, 1, 2), jnp.swapaxes(d_v, 1, 2)
  d_q = _from_blocks(d_q, num_queries)
  return d_q.astype(dtypes[0]), d_k.astype(dtypes[1]), d_v.astype(dtypes[2])
