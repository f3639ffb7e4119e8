"""What the image and the motion encoder share: patches, then blocks."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.models import attention, layers


@dataclasses.dataclass(frozen=True)
class VisionTransformerConfig:
  """Sizes of a plain vision transformer; the defaults are ViT-B/16's."""

  patch: int = 16
  width: int = 768
  num_layers: int = 12
  num_heads: int = 12
  mlp_width: int = 3072
  eps: float = 1e-6
  dtype: str = "float32"


def embed_patches(
  config: VisionTransformerConfig,
  frames: Float[Array, "B T H W 3"],
  *,
  use_bias: bool = True,
) -> Float[Array, "B P E"]:
  """One float32 token per patch, which spans all frames.

  Called inside a module, whose parameters it names "patch_embed".
  """
  patch = (frames.shape[1], config.patch, config.patch)
  embed = layers.PatchEmbed(
    patch, config.width, config.dtype, use_bias=use_bias, name="patch_embed"
  )
  return embed(frames).astype(jnp.float32)


def transform(
  config: VisionTransformerConfig,
  x: Float[Array, "B N E"],
  *,
  remat: str = "none",
) -> Float[Array, "B N E"]:
  """Runs the tokens through all blocks, scanned.

  Called inside a module, whose parameters it names "blocks".
  """
  stack = layers.stacked(attention.VisionBlock, config.num_layers, remat)
  blocks = stack(
    config.num_heads, config.mlp_width, config.eps, config.dtype, name="blocks"
  )
  return blocks(x)[0]
