"""Table of named sizes.

"nano" is for tests, "tiny" for a CPU, "mini" has networks as small for larger
pictures, three to two as photographs are, "small" is for one consumer GPU;
"1p3b" and "14b" have the widths of Wan2.1-Fun-V1.1 and of the published
encoders.
"""

import dataclasses
from collections.abc import Mapping

from more4d_jax.models import backbone, motion_vae, strag, video_vae, vism
from more4d_jax.models.encoders import (
  depth,
  depth_presets,
  image,
  motion,
  text,
  tokenizer,
)

STRAG_CHANNELS = 64


@dataclasses.dataclass(frozen=True)
class Variant:
  """Every network of one size, and the clips it is made for.

  Attributes:
    frames: T, one more than a multiple of four.
    height: H in pixels, a multiple of 16.
    width: W in pixels, a multiple of 16.
    published: weights exist, so encoders are frozen and start from them.
  """

  name: str
  frames: int
  height: int
  width: int
  video_vae: video_vae.VideoVAEConfig
  motion_vae: motion_vae.MotionVAEConfig
  depth: depth.DepthConfig
  strag: strag.STraGConfig
  vism: vism.ViSMConfig
  published: bool = False

  @property
  def latent_grid(self) -> tuple[int, int, int]:
    """Latent frames, rows and columns: t, h, w."""
    return (self.frames - 1) // 4 + 1, self.height // 8, self.width // 8


def _variant(
  name: str,
  clip: tuple[int, int, int],
  dit: backbone.DiTConfig,
  encoders: tuple[text.TextEncoderConfig, motion.MotionEncoderConfig],
  vae: tuple[motion_vae.MotionVAEConfig, depth.DepthConfig],
  image_encoder: image.ImageEncoderConfig | None = None,
) -> Variant:
  """Completes a table row; `dit` holds what STraG and ViSM share."""
  text_config, motion_config = encoders
  motion_vae_config, depth_config = vae
  shared = dataclasses.replace(
    dit,
    text_width=text_config.width,
    text_length=text_config.length,
    image_width=None if image_encoder is None else image_encoder.width,
  )
  strag_dit = dataclasses.replace(
    shared,
    in_channels=STRAG_CHANNELS,
    reference=True,
    motion_width=motion_config.width,
    motion_grid=motion_config.grid,
  )
  vism_dit = dataclasses.replace(shared, in_channels=vism.IN_CHANNELS)
  frames, height, width = clip
  return Variant(
    name=name,
    frames=frames,
    height=height,
    width=width,
    video_vae=motion_vae_config.vae,
    motion_vae=motion_vae_config,
    depth=depth_config,
    strag=strag.STraGConfig(
      strag_dit, text_config, motion_config, image_encoder
    ),
    vism=vism.ViSMConfig(vism_dit, text_config, image_encoder),
    published=image_encoder is not None,
  )


def _dit(width: int, ffn: int, heads: int, layers: int, **options):
  """What both tasks share; input channels are set by `_variant`."""
  return backbone.DiTConfig(
    width=width,
    ffn_width=ffn,
    num_heads=heads,
    num_layers=layers,
    in_channels=0,
    **options,
  )


def _bytes_encoder(length: int, width: int, layers: int, heads: int):
  """A small text encoder over bytes, trained along."""
  return text.TextEncoderConfig(
    vocabulary=tokenizer.BYTE_VOCABULARY,
    length=length,
    width=width,
    attention_width=width,
    ffn_width=2 * width,
    num_heads=heads,
    num_layers=layers,
  )


def _motion_encoder(
  size: tuple[int, int], patch: int, width: int, layers: int, heads: int
):
  """A small motion encoder, trained along."""
  return motion.MotionEncoderConfig(
    image_size=size,
    patch=patch,
    width=width,
    num_layers=layers,
    num_heads=heads,
    mlp_width=4 * width,
  )


def _vaes(width: int, encoder: int, decoder: int, adapter: int, groups: int):
  """A small motion autoencoder."""
  return motion_vae.MotionVAEConfig(
    vae=video_vae.VideoVAEConfig(
      width=width, encoder_blocks=encoder, decoder_blocks=decoder
    ),
    adapter=motion_vae.TrajectoryAdapterConfig(width=adapter, groups=groups),
  )


_NANO_DEPTH = depth.DepthConfig(
  width=32,
  num_layers=2,
  num_heads=2,
  patch=8,
  position_grid=(4, 6),
  taps=(0, 0, 1, 1),
  reassemble=(8, 8, 16, 16),
  features=16,
  head_features=8,
)
_TINY_DEPTH = depth.DepthConfig(
  width=96,
  num_layers=4,
  num_heads=4,
  patch=8,
  position_grid=(6, 8),
  taps=(0, 1, 2, 3),
  reassemble=(16, 32, 48, 96),
  features=32,
  head_features=16,
)
_MINI_DEPTH = depth.DepthConfig(
  trunk="convolutional",
  num_layers=2,
  patch=8,
  reassemble=(32, 64, 128, 192),
  features=32,
  head_features=16,
)
_SMALL_DEPTH = depth.DepthConfig(
  width=192,
  num_layers=8,
  num_heads=6,
  patch=8,
  position_grid=(12, 16),
  taps=(1, 3, 5, 7),
  reassemble=(32, 64, 128, 192),
  features=48,
  head_features=24,
)
_PUBLISHED_DEPTH = depth_presets.depth_anything("small", "indoor")


def _nano() -> Variant:
  return _variant(
    "nano",
    (5, 32, 48),
    _dit(64, 128, 4, 2, frequency_width=64),
    (_bytes_encoder(32, 32, 1, 2), _motion_encoder((32, 48), 8, 32, 1, 2)),
    (_vaes(8, 1, 1, 8, 4), _NANO_DEPTH),
  )


def _tiny() -> Variant:
  return _variant(
    "tiny",
    (9, 48, 64),
    _dit(192, 768, 4, 6, remat="none"),
    (_bytes_encoder(128, 128, 2, 4), _motion_encoder((48, 64), 8, 128, 2, 4)),
    (_vaes(16, 1, 1, 16, 8), _TINY_DEPTH),
  )


def _mini() -> Variant:
  return _variant(
    "mini",
    (9, 64, 96),
    _dit(192, 768, 4, 6, remat="none"),
    (_bytes_encoder(128, 128, 2, 4), _motion_encoder((64, 96), 8, 128, 2, 4)),
    (_vaes(16, 1, 1, 16, 8), _MINI_DEPTH),
  )


def _small() -> Variant:
  return _variant(
    "small",
    (17, 96, 128),
    _dit(512, 2048, 8, 12),
    (_bytes_encoder(128, 256, 4, 8), _motion_encoder((96, 128), 8, 256, 4, 8)),
    (_vaes(48, 1, 2, 64, 16), _SMALL_DEPTH),
  )


def _published(name: str, dit: backbone.DiTConfig) -> Variant:
  half = "bfloat16"
  return _variant(
    name,
    (49, 368, 512),
    dataclasses.replace(dit, dtype=half),
    (
      text.TextEncoderConfig(dtype=half),
      motion.MotionEncoderConfig(dtype=half),
    ),
    (motion_vae.MotionVAEConfig(), _PUBLISHED_DEPTH),
    image.ImageEncoderConfig(dtype=half),
  )


VARIANTS: Mapping[str, Variant] = {
  "nano": _nano(),
  "tiny": _tiny(),
  "mini": _mini(),
  "small": _small(),
  "1p3b": _published("1p3b", _dit(1536, 8960, 12, 30)),
  "14b": _published("14b", _dit(5120, 13824, 40, 40)),
}


def get(name: str) -> Variant:
  """Returns the networks of a named size.

  Raises:
    ValueError: for an unknown name.
  """
  if name not in VARIANTS:
    raise ValueError(
      f"size must be one of {', '.join(VARIANTS)}; found {name!r}"
    )
  return VARIANTS[name]
