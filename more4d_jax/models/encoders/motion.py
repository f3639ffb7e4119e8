"""OmniMAE encoder trunk: a video transformer shown one still picture.

Source: docs/method/motion_perception.md#encoder.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import interpolation, layers
from more4d_jax.models.encoders import vision_transformer

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclasses.dataclass(frozen=True)
class MotionEncoderConfig(vision_transformer.VisionTransformerConfig):
  """Sizes of the trunk; the defaults are ViT-B's."""

  image_size: tuple[int, int] = (224, 224)
  tubelet: int = 2
  remat: str = "none"

  @property
  def grid(self) -> tuple[int, int]:
    """Rows and columns of patches."""
    height, width = self.image_size
    return height // self.patch, width // self.patch


def position_table(rows: int, width: int) -> Float[np.ndarray, "P E"]:
  """Sines (even columns) and cosines (odd) of the flat patch number."""
  column = np.arange(width)
  rate = 10000.0 ** (-2 * (column // 2) / width)
  angle = np.arange(rows)[:, None] * rate
  table = np.where(column % 2 == 0, np.sin(angle), np.cos(angle))
  return table.astype(np.float32)


class MotionEncoder(nn.Module):
  """Picture to one feature row per patch, row-major."""

  config: MotionEncoderConfig

  @nn.compact
  def __call__(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B P E"]:
    """Returns float32 features.

    Args:
      image: RGB in [0, 1], any size; resized without keeping the aspect.
    """
    config = self.config
    x = interpolation.resize_axes(
      (image - MEAN) / STD, (1, 2), config.image_size
    )
    x = jnp.repeat(x[:, None], config.tubelet, axis=1)
    x = vision_transformer.embed_patches(config, x)
    x = x + position_table(x.shape[1], config.width)
    x = partitioning.constrain(x, "batch", None, "act_embed")
    x = vision_transformer.transform(config, x, remat=config.remat)
    return layers.LayerNorm(config.eps, name="norm")(x)
