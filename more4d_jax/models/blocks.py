"""Blocks and head of the video diffusion transformer.

The residual stream, norms and modulation are float32. Source:
docs/method/transformer.md#block.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax import partitioning
from more4d_jax.models import attention, layers, motion_perception


@flax.struct.dataclass
class BlockInputs:
  """Inputs that every block receives besides the tokens."""

  modulation: Float[Array, "B M 6 D"]  # M is 1, or N for a time per token.
  text: Float[Array, "B L D"]
  image: Float[Array, "B I D"] | None
  angles: Float[Array, "N d"]
  motion: Float[Array, "B n E"] | None
  motion_mask: Float[Array, "N"]
  key_length: Int[Array, "B"] | None


class Block(nn.Module):
  """Self-attention, cross-attention and feed-forward with 6-way modulation.

  The residual stream and the modulation are float32. Source:
  docs/method/transformer.md#block.
  """

  config: attention.AttentionConfig
  ffn_width: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], inputs: BlockInputs
  ) -> tuple[Float[Array, "B N D"], None]:
    """Returns the new residual stream, and None for `nn.scan`."""
    config = self.config
    table = self.param(
      "modulation",
      partitioning.param(layers.normal(config.width**-0.5), ("table", "norm")),
      (6, config.width),
    )
    shift1, scale1, gate1, shift2, scale2, gate2 = jnp.moveaxis(
      table + inputs.modulation, 2, 0
    )
    norm = layers.LayerNorm(config.eps, affine=False)
    u = self._motion(norm(x) * (1 + scale1) + shift1, inputs, "attn")
    out = attention.SelfAttention(config, name="self_attn")(
      u, inputs.angles, inputs.key_length
    )
    x = self._residual(x + gate1 * out.astype(jnp.float32))
    u = layers.LayerNorm(config.eps, name="cross_norm")(x)
    out = attention.CrossAttention(config, name="cross_attn")(
      u, inputs.text, inputs.image
    )
    x = self._residual(x + out.astype(jnp.float32))
    u = self._motion(norm(x) * (1 + scale2) + shift2, inputs, "ffn")
    out = layers.MLP(
      self.ffn_width, config.width, jax.nn.gelu, config.dtype, name="ffn"
    )(u)
    return self._residual(x + gate2 * out.astype(jnp.float32)), None

  def _residual(self, x):
    return partitioning.constrain(x, "batch", "tokens", "act_embed")

  def _motion(self, u, inputs: BlockInputs, place: str):
    if inputs.motion is None:
      return u
    return motion_perception.MAdaNorm(
      self.config.dtype, name=f"madanorm_{place}"
    )(u, inputs.motion, inputs.motion_mask)


class ImageEmbed(nn.Module):
  """Brings image features to the model's width.

  Source: docs/method/transformer.md#context.
  """

  width: int
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: Float[Array, "B I C"]) -> Float[Array, "B I D"]:
    """Returns float32 tokens."""

    def exact_gelu(v):
      return jax.nn.gelu(v, approximate=False)

    x = layers.LayerNorm(1e-5, name="norm1")(x)
    x = layers.dense(
      x.shape[-1], ("embed", "mlp"), dtype=self.dtype, name="fc1"
    )(x)
    x = layers.dense(
      self.width, ("mlp", "embed"), dtype=self.dtype, name="fc2"
    )(exact_gelu(x))
    return layers.LayerNorm(1e-5, name="norm2")(x)


class Head(nn.Module):
  """Final modulation and linear map, which starts at zero."""

  config: attention.AttentionConfig
  features: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], time: Float[Array, "B M D"]
  ) -> Float[Array, "B N V"]:
    """Returns the values of each patch in float32."""
    config = self.config
    table = self.param(
      "modulation",
      partitioning.param(layers.normal(config.width**-0.5), ("table", "norm")),
      (2, config.width),
    )
    shift, scale = jnp.moveaxis(table + time[:, :, None], 2, 0)
    x = layers.LayerNorm(config.eps, affine=False)(x) * (1 + scale) + shift
    return layers.dense(
      self.features,
      ("embed", None),
      dtype=config.dtype,
      kernel_init=nn.initializers.zeros,
      name="linear",
    )(x).astype(jnp.float32)
