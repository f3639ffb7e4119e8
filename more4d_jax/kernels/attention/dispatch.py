"""One entry to attention, and the choice of an implementation."""

import functools

import jax
import jax.numpy as jnp
from absl import logging
from jaxtyping import Array, Float, Int

from more4d_jax.kernels.attention import blocked, reference

IMPLEMENTATIONS = ("auto", "blocked", "reference", "xla")
# "auto" leaves the compiler's attention when all weights of one sample and
# head together would exceed this count (64 MiB in float32).
_WHOLE_WEIGHTS_LIMIT = 1 << 24


def _xla(q, k, v, *, key_length, scale):
  return jax.nn.dot_product_attention(
    q,
    k,
    v,
    scale=scale,
    key_value_seq_lengths=key_length,
    implementation="xla",
  )


@functools.cache
def _log_choice(name: str, num_queries: int, num_keys: int) -> None:
  logging.info(
    "attention: %s for %d queries, %d keys", name, num_queries, num_keys
  )


def choose(implementation: str, num_queries: int, num_keys: int) -> str:
  """Returns the name of the implementation that will run.

  Raises:
    ValueError: for a name that is not in `IMPLEMENTATIONS`.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f"attention implementation must be one of {', '.join(IMPLEMENTATIONS)};"
      f" found {implementation!r}; set model.attention to one of them"
    )
  if implementation != "auto":
    return implementation
  whole = num_queries * num_keys <= _WHOLE_WEIGHTS_LIMIT
  name = "xla" if whole else "blocked"
  _log_choice(name, num_queries, num_keys)
  return name


def attention(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  *,
  key_length: Int[Array, "B"] | None = None,
  scale: float | None = None,
  implementation: str = "auto",
) -> Float[Array, "B N K D"]:
  """Softmax attention without dropout; softmax statistics in float32.

  Args:
    q: queries.
    k: keys, same number of heads.
    v: values.
    key_length: keys at or beyond this index take no part; at least 1.
    scale: factor on the products of queries and keys; 1/sqrt(D) by default.
    implementation: one of `IMPLEMENTATIONS`; "auto" logs its choice.

  Raises:
    ValueError: for an unknown implementation.
  """
  run = {
    "blocked": blocked.attention,
    "reference": reference.attention,
    "xla": _xla,
  }[choose(implementation, q.shape[1], k.shape[1])]
  scale = q.shape[-1] ** -0.5 if scale is None else scale
  if key_length is not None:
    key_length = jnp.asarray(key_length, jnp.int32)
  return run(q, k, v, key_length=key_length, scale=scale)
