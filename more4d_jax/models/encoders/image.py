"""Image tower of CLIP (ViT-H/14), up to its last block but one.

Source: docs/method/conditioning.md#image.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import interpolation, layers
from more4d_jax.models.encoders import vision_transformer

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclasses.dataclass(frozen=True)
class ImageEncoderConfig(vision_transformer.VisionTransformerConfig):
  """Sizes of the tower; the defaults are ViT-H/14's.

  Attributes:
    num_layers: blocks that run; the published tower has one more.
  """

  patch: int = 14
  width: int = 1280
  num_heads: int = 16
  num_layers: int = 31
  mlp_width: int = 5120
  eps: float = 1e-5
  image_size: int = 224

  @property
  def num_tokens(self) -> int:
    """Patches and the class token."""
    return (self.image_size // self.patch) ** 2 + 1


class ImageEncoder(nn.Module):
  """Picture to one feature row per patch after the class token's row."""

  config: ImageEncoderConfig

  @nn.compact
  def __call__(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B I E"]:
    """Returns float32 features.

    Args:
      image: RGB in [0, 1], any size; resized without keeping the aspect.
    """
    config = self.config
    side = config.image_size
    # Cubic weights overshoot: values may leave [0, 1] slightly.
    x = interpolation.resize_cubic(image, side, side)
    x = (x - MEAN) / STD
    x = vision_transformer.embed_patches(config, x[:, None], use_bias=False)
    init = layers.normal(config.width**-0.5)
    first = self.param(
      "class_token", partitioning.param(init, ("norm",)), (config.width,)
    )
    first = jnp.broadcast_to(first, (x.shape[0], 1, config.width))
    x = jnp.concatenate([first, x], axis=1)
    x = x + self.param(
      "position",
      partitioning.param(init, ("table", "norm")),
      (config.num_tokens, config.width),
    )
    x = layers.LayerNorm(config.eps, name="pre_norm")(x)
    return vision_transformer.transform(config, x)
