"""Self- and cross-attention of the transformer over `kernels.attention`."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax import partitioning
from more4d_jax.kernels.attention import dispatch
from more4d_jax.models import layers


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
  """What one attention layer needs to know."""

  width: int
  num_heads: int
  eps: float = 1e-6
  dtype: str = "float32"
  implementation: str = "auto"

  @property
  def head_dim(self) -> int:
    """Values per head."""
    return self.width // self.num_heads


def _project(config: AttentionConfig, name: str) -> layers.Dense:
  return layers.dense(
    config.width, ("embed", "heads"), dtype=config.dtype, name=name
  )


def _output(config: AttentionConfig) -> layers.Dense:
  return layers.dense(
    config.width, ("heads", "embed"), dtype=config.dtype, name="o"
  )


def _split_heads(x, config: AttentionConfig, tokens: str):
  x = x.reshape(*x.shape[:-1], config.num_heads, config.head_dim)
  return partitioning.constrain(x, "batch", tokens, "act_heads", None)


def _merge_heads(x):
  return x.reshape(*x.shape[:-2], -1)


class SelfAttention(nn.Module):
  """Full attention; q and k are normalised over the whole width and rotated.

  Source: spec 01 section 6.
  """

  config: AttentionConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B N D"],
    cos: Float[Array, "N d"],
    sin: Float[Array, "N d"],
    key_length: Int[Array, "B"] | None = None,
  ) -> Float[Array, "B N D"]:
    """Attends; keys at or beyond `key_length` take no part."""
    config = self.config
    dtype = jnp.dtype(config.dtype)
    x = x.astype(dtype)
    q = layers.RMSNorm(config.eps, name="norm_q")(_project(config, "q")(x))
    k = layers.RMSNorm(config.eps, name="norm_k")(_project(config, "k")(x))
    v = _split_heads(_project(config, "v")(x), config, "tokens")
    q = layers.apply_rotary(_split_heads(q, config, "tokens"), cos, sin)
    k = layers.apply_rotary(_split_heads(k, config, "tokens"), cos, sin)
    out = dispatch.attention(
      q.astype(dtype),
      k.astype(dtype),
      v,
      key_length=key_length,
      implementation=config.implementation,
    )
    out = partitioning.constrain(out, "batch", "tokens", "act_heads", None)
    return _output(config)(_merge_heads(out))


class CrossAttention(nn.Module):
  """One query against the text and, if given, against image tokens.

  The two attentions are independent softmaxes whose results are added before
  the shared output map. All keys take part, padding rows of the text too.
  Source: spec 01 section 6.
  """

  config: AttentionConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B N D"],
    text: Float[Array, "B L D"],
    image: Float[Array, "B M D"] | None = None,
  ) -> Float[Array, "B N D"]:
    """Attends from `x` to the contexts."""
    config = self.config
    q = layers.RMSNorm(config.eps, name="norm_q")(
      _project(config, "q")(x.astype(config.dtype))
    )
    q = _split_heads(q.astype(config.dtype), config, "tokens")
    out = self._attend(q, text, "")
    if image is not None:
      out = out + self._attend(q, image, "_img")
    return _output(config)(_merge_heads(out))

  def _attend(self, q, context, suffix: str):
    config = self.config
    context = context.astype(config.dtype)
    k = layers.RMSNorm(config.eps, name=f"norm_k{suffix}")(
      _project(config, f"k{suffix}")(context)
    )
    v = _project(config, f"v{suffix}")(context)
    out = dispatch.attention(
      q,
      _split_heads(k.astype(config.dtype), config, "text"),
      _split_heads(v, config, "text"),
      implementation=config.implementation,
    )
    return partitioning.constrain(out, "batch", "tokens", "act_heads", None)


class VisionBlock(nn.Module):
  """Pre-norm block of a plain vision transformer with exact GELU.

  Returns a pair, as `nn.scan` wants it.
  """

  num_heads: int
  mlp_width: int
  eps: float = 1e-6
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"]
  ) -> tuple[Float[Array, "B N D"], None]:
    """Applies the block to every token."""
    config = AttentionConfig(x.shape[-1], self.num_heads, dtype=self.dtype)
    u = layers.LayerNorm(self.eps, name="norm1")(x).astype(self.dtype)
    q, k, v = (
      _split_heads(_project(config, name)(u), config, "text")
      for name in ("q", "k", "v")
    )
    out = _output(config)(_merge_heads(dispatch.attention(q, k, v)))
    x = x + out.astype(jnp.float32)
    u = layers.LayerNorm(self.eps, name="norm2")(x)
    out = layers.MLP(
      self.mlp_width, x.shape[-1], _exact_gelu, self.dtype, name="mlp"
    )(u)
    return x + out.astype(jnp.float32), None


def _exact_gelu(x):
  return jax.nn.gelu(x, approximate=False)
