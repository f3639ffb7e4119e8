"""umT5 encoder: relative position tables per layer, gated feed-forward.

Source: docs/method/conditioning.md#text.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from more4d_jax import partitioning
from more4d_jax.models import layers
from more4d_jax.models.encoders import tokenizer


@dataclasses.dataclass(frozen=True)
class TextEncoderConfig:
  """Sizes of the text encoder; the defaults are umT5-XXL's.

  Attributes:
    length: tokens per text, padding included.
    attention_width: heads times values per head.
  """

  vocabulary: int = 256384
  length: int = 512
  width: int = 4096
  attention_width: int = 4096
  ffn_width: int = 10240
  num_heads: int = 64
  num_layers: int = 24
  num_buckets: int = 32
  max_distance: int = 128
  eps: float = 1e-6
  dtype: str = "float32"
  remat: str = "none"


def relative_buckets(
  distance: Int[np.ndarray, "..."],
  num_buckets: int = 32,
  max_distance: int = 128,
) -> Int[np.ndarray, "..."]:
  """Bucket of key position minus query position, both directions.

  Half of the buckets serve each sign. In each half, the first half holds one
  distance per bucket, the rest grow logarithmically up to `max_distance`.
  """
  half = num_buckets // 2
  exact = half // 2
  size = np.abs(distance)
  steps = np.log(np.maximum(size, 1) / exact) / np.log(max_distance / exact)
  # The published tables round this quotient in float32.
  far = exact + (steps.astype(np.float32) * (half - exact)).astype(np.int64)
  near = np.where(size < exact, size, np.minimum(far, half - 1))
  return np.where(distance > 0, half, 0) + near


class Block(nn.Module):
  """Pre-norm attention without scaling or bias, then gated feed-forward."""

  config: TextEncoderConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B L D"],
    mask: Bool[Array, "B L"],
    buckets: Int[Array, "L L"],
  ) -> tuple[Float[Array, "B L D"], None]:
    """Returns the new residual stream, and None for `nn.scan`."""
    config = self.config
    u = layers.RMSNorm(config.eps, name="norm1")(x)
    x = x + self._attend(u, mask, buckets).astype(jnp.float32)
    u = layers.RMSNorm(config.eps, name="norm2")(x)
    gate = self._dense("gate", config.ffn_width, ("embed", "mlp"))(u)
    value = self._dense("fc1", config.ffn_width, ("embed", "mlp"))(u)
    out = self._dense("fc2", config.width, ("mlp", "embed"))(
      value * jax.nn.gelu(gate)
    )
    return x + out.astype(jnp.float32), None

  def _dense(self, name: str, features: int, axes, stddev=None) -> layers.Dense:
    if stddev is None:
      init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    else:
      init = layers.normal(stddev)
    return layers.dense(
      features,
      axes,
      dtype=self.config.dtype,
      kernel_init=init,
      use_bias=False,
      name=name,
    )

  def _attend(self, x, mask, buckets):
    config = self.config
    heads, inner = config.num_heads, config.attention_width
    depth = inner // heads
    axes = ("embed", "heads")
    # Small queries stand for the missing 1/sqrt(depth).
    query = self._dense("q", inner, axes, (config.width * depth) ** -0.5)
    q, k, v = (
      layer(x).reshape(*x.shape[:2], heads, depth)
      for layer in (
        query,
        self._dense("k", inner, axes),
        self._dense("v", inner, axes),
      )
    )
    table = self.param(
      "position",
      partitioning.param(
        layers.normal((2 * config.num_buckets * heads) ** -0.5),
        ("table", "heads"),
      ),
      (config.num_buckets, heads),
    )
    bias = jnp.moveaxis(table[buckets], -1, 0)  # [K L L]
    logits = bias + jnp.einsum(
      "bnkd,bmkd->bknm", q, k, preferred_element_type=jnp.float32
    )
    lowest = jnp.finfo(jnp.float32).min
    logits = jnp.where(mask[:, None, None, :], logits, lowest)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    out = jnp.einsum("bknm,bmkd->bnkd", weights, v)
    out = out.reshape(*x.shape[:2], inner)
    return self._dense("o", config.width, ("heads", "embed"), inner**-0.5)(out)


class TextEncoder(nn.Module):
  """Token numbers to text features."""

  config: TextEncoderConfig

  def setup(self) -> None:
    """Makes the networks that the configuration names."""
    config = self.config
    self.embedding = self.param(
      "embedding",
      partitioning.param(layers.normal(1.0), ("vocab", "embed")),
      (config.vocabulary, config.width),
    )
    self.blocks = layers.stacked(Block, config.num_layers, config.remat)(config)
    self.norm = layers.RMSNorm(config.eps)

  def __call__(self, tokens: Int[Array, "B L"]) -> Float[Array, "B L E"]:
    """Returns float32 features; rows of padding tokens are zero."""
    mask = tokens != tokenizer.PAD
    return self.encode(tokens, mask) * mask[..., None]

  def encode(
    self, tokens: Int[Array, "B L"], mask: Bool[Array, "B L"]
  ) -> Float[Array, "B L E"]:
    """Returns features of all rows; masked tokens serve no row as key."""
    config = self.config
    place = np.arange(tokens.shape[1])
    buckets = relative_buckets(
      place[None, :] - place[:, None], config.num_buckets, config.max_distance
    )
    x = self.embedding[partitioning.constrain(tokens, "wide_batch", "text")]
    # Each device looks up its part of the width, then they trade it for rows.
    x = partitioning.constrain(x, "wide_batch", "text", "embed")
    x = partitioning.constrain(x, "batch", "text", "act_embed")
    x = x.astype(jnp.float32)  # The table may be stored in bfloat16.
    x, _ = self.blocks(x, mask, jnp.asarray(buckets, jnp.int32))
    return self.norm(x)
