"""Latents of motion, picture and depth, which 4D-STraG trains on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from more4d_jax.data import transforms
from more4d_jax.geometry import depth as depth_geometry
from more4d_jax.geometry import motion
from more4d_jax.models.encoders import tokenizer
from more4d_jax.sampling import networks


@dataclasses.dataclass(frozen=True)
class SceneExample:
  """Record -> what `encode_scenes` takes.

  Attributes:
    options: frames and size.
    tokenizer: of captions.
  """

  options: transforms.ExampleOptions
  tokenizer: tokenizer.Tokenizer

  def __call__(self, item: transforms.Item) -> dict[str, np.ndarray]:
    """Returns tracks, intrinsics, image, depth and text."""
    example = transforms.scene_example(item, self.options)
    names = ("tracks", "intrinsics", "image", "depth")
    return {
      **{name: example[name] for name in names},
      "text": self.tokenizer([example["caption"]])[0],
    }


def encode_scenes(
  video_vae: networks.BoundModule,
  motion_vae: networks.BoundModule,
  normalisation: motion.MotionNormalisation,
  batch: Mapping[str, Any],
) -> dict[str, Array]:
  """Latents that STraG trains on.

  Args:
    video_vae: encodes pictures; with the statistics of its latents.
    motion_vae: encodes motion.
    normalisation: of the motion.
    batch: of `SceneExample`.

  Returns: see training.objectives.strag; motion latents are raw moments, the
    conditions normalised modes.
  """
  tracks, picture = batch["tracks"], batch["image"]
  frames = tracks.shape[1]
  alpha = normalisation.alpha(batch["intrinsics"], *tracks.shape[2:4])
  moved, _, _ = motion.normalise(tracks, alpha, normalisation.mode)
  mean, logvar = networks.posterior(motion_vae, moved)
  picture = picture.astype(jnp.float32) / 127.5 - 1.0
  stills = [picture, depth_geometry.depth_image(batch["depth"])]
  control, depth = networks.encode_stills(video_vae, stills, frames)
  return {
    "motion_mean": mean,
    "motion_logvar": logvar,
    "control": control,
    "depth": depth,
    "reference": control[:, 0],
    "image": batch["image"],
    "text": batch["text"],
  }
