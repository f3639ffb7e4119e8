"""Features of captions and pictures by encoders that are not trained."""

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from more4d_jax.models import denoiser
from more4d_jax.sampling import networks


def shapes(config: Any, frozen: Collection[str]) -> dict[str, tuple[int, ...]]:
  """Shapes of the features of one example, by name.

  Args:
    config: of the denoiser.
    frozen: names of encoders, of `denoiser.ENCODERS`.
  """
  found: dict[str, tuple[int, ...]] = {}
  if "text_encoder" in frozen:
    length, width = config.text.length, config.text.width
    found["text_features"] = (length, width)
    found[denoiser.EMPTY_TEXT] = (1, width)
  if "image_encoder" in frozen:
    found["image_features"] = (config.image.num_tokens, config.image.width)
  if "motion_encoder" in frozen:
    rows, columns = config.motion.grid
    patches = () if config.motion_feature == "global" else (rows * columns,)
    found["motion_features"] = (*patches, config.motion.width)
  return found


def encode(
  config: Any,
  encoders: networks.BoundModule | None,
  frozen: Collection[str],
  empty_text: Int[np.ndarray, "L"],
  batch: Mapping[str, Any],
) -> dict[str, Array]:
  """What a training example has of caption and picture.

  Args:
    config: of the denoiser.
    encoders: the denoiser with the parameters of the frozen encoders; None
      where there are none.
    frozen: their names; of the other encoders, what they read is kept.
    empty_text: tokens of the caption "", of which the first one is valid.
    batch: `text` [B L] int32 and `image` [B H W 3] uint8.
  """
  kept = {}
  for name in denoiser.encoders_of(config):
    encoder = denoiser.ENCODERS[name]
    value = batch[encoder.reads]
    if name not in frozen:
      kept[encoder.reads] = value
    elif name == "text_encoder":
      kept[encoder.features] = encoders(value, method=encoder.method)
      empty = encoders(jnp.asarray(empty_text)[None], method=encoder.method)
      empty = jnp.repeat(empty[:, :1], len(value), axis=0)
      kept[denoiser.EMPTY_TEXT] = empty
    else:
      image = networks.unit(value)
      kept[encoder.features] = encoders(image, method=encoder.method)
  return kept
