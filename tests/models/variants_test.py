import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from more4d_jax import partitioning
from more4d_jax.models import backbone, motion_vae, variants
from more4d_jax.models.encoders import image, motion, text


def _count(tree) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _dit_counts(config: backbone.DiTConfig) -> dict[str, int]:
  """Parameters per module from shapes alone."""
  shapes = jax.eval_shape(
    lambda key: backbone.WanDiT(config).init(
      key,
      jnp.zeros((1, 1, 4, 4, 16)),
      jnp.zeros(1),
      jnp.zeros((1, 1, config.text_width)),
      condition_latents=(
        jnp.zeros((1, 1, 4, 4, config.in_channels - 16))
        if config.in_channels > 16
        else None
      ),
      reference_latent=jnp.zeros((1, 4, 4, 16)) if config.reference else None,
      motion_features=(
        jnp.zeros((1, math.prod(config.motion_grid), config.motion_width))
        if config.motion_width
        else None
      ),
    ),
    jax.random.key(0),
  )
  params = partitioning.unbox(shapes)["params"]
  counts = {name: _count(tree) for name, tree in params.items()}
  counts["madanorm"] = sum(
    _count(tree)
    for name, tree in params["blocks"].items()
    if name.startswith("madanorm")
  )
  return counts


def _total(counts: dict[str, int]) -> int:
  return sum(v for k, v in counts.items() if k != "madanorm")


def _plain(name: str, **changes) -> backbone.DiTConfig:
  dit = variants.get(name).strag.dit
  return dataclasses.replace(dit, motion_width=None, **changes)


# Published counts: docs/method/overview.md#model-sizes.
@pytest.mark.parametrize(
  ("config", "expected"),
  [
    (
      _plain("1p3b", in_channels=16, image_width=None, reference=False),
      1_418_996_800,
    ),
    (_plain("1p3b", in_channels=48), 1_564_602_176),
    (variants.get("1p3b").vism.dit, 1_564_428_608),
    (
      _plain("14b", in_channels=16, image_width=None, reference=False),
      14_288_491_584,
    ),
    (_plain("14b", in_channels=48), 16_395_457_344),
    (variants.get("14b").vism.dit, 16_394_878_784),
    (_plain("14b"), 16_395_785_024),
  ],
)
def test_transformers_have_the_published_number_of_parameters(config, expected):
  assert _total(_dit_counts(config)) == expected


@pytest.mark.parametrize(
  ("name", "madanorm"), [("1p3b", 141_834_240), ("14b", 630_374_400)]
)
def test_motion_perception_has_the_published_number_of_parameters(
  name, madanorm
):
  counts = _dit_counts(variants.get(name).strag.dit)
  assert counts["madanorm"] == madanorm
  assert counts["motion_aligner"] == 10_618_368


def test_encoders_have_the_published_number_of_parameters():
  tokens = jnp.zeros((1, 4), jnp.int32)
  picture = jnp.zeros((1, 32, 32, 3))
  cases = [
    (text.TextEncoder(text.TextEncoderConfig()), tokens, 5_680_910_336),
    (image.ImageEncoder(image.ImageEncoderConfig()), picture, 611_086_080),
    # Twelve blocks, patch convolution and last norm of ViT-B.
    (
      motion.MotionEncoder(motion.MotionEncoderConfig()),
      picture,
      12 * (12 * 768**2 + 13 * 768) + (3 * 2 * 16 * 16 + 1) * 768 + 2 * 768,
    ),
  ]
  for model, example, expected in cases:
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)
    assert _count(shapes) == expected


@pytest.mark.parametrize("name", list(variants.VARIANTS))
def test_sizes_fit_together(name):
  variant = variants.get(name)
  assert variant.frames % 4 == 1
  assert variant.height % 16 == 0 and variant.width % 16 == 0
  assert variant.video_vae == variant.motion_vae.vae
  assert variant.strag.dit.text_width == variant.strag.text.width
  assert variant.strag.dit.text_length == variant.strag.text.length
  assert isinstance(variant.motion_vae, motion_vae.MotionVAEConfig)
  hash(variant)  # Modules need hashable configurations.


def test_nano_divides_over_the_tested_meshes():
  variant = variants.get("nano")
  t, h, w = variant.latent_grid
  rows = h * w // 4
  assert (t * rows, rows) == (12, 6)
  for dit in (variant.strag.dit, variant.vism.dit):
    assert dit.num_heads % 2 == 0
    assert dit.width % 8 == 0 and dit.ffn_width % 8 == 0


def test_unknown_size_is_an_error():
  with pytest.raises(ValueError, match="size must be one of nano"):
    variants.get("huge")
