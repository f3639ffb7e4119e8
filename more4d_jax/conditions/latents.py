"""Latents of motion, picture and depth, which 4D-STraG trains on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import grain
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from more4d_jax.data import estimation_noise, transforms
from more4d_jax.geometry import depth as depth_geometry
from more4d_jax.geometry import motion
from more4d_jax.models.encoders import tokenizer
from more4d_jax.sampling import networks

NOISE = estimation_noise.DepthNoise()


@dataclasses.dataclass(frozen=True)
class DepthShares:
  """Depth that a network is shown; motion is always that of exact depth.

  Attributes:
    noisy: share of scenes whose depth has the errors of a depth network, see
      `data.estimation_noise`.
    network: share of scenes whose depth a network estimates, `init_from.depth`.
      The others have exact depth.
  """

  noisy: float = 0.5
  network: float = 0.0

  def __post_init__(self) -> None:
    noisy, network = self.noisy, self.network
    if not (min(noisy, network) >= 0 and noisy + network <= 1):
      raise ValueError(
        f"noisy is {noisy} and network {network}: expected shares from 0 to 1, "
        "of at most 1 together"
      )


@dataclasses.dataclass(frozen=True)
class SceneExample(grain.transforms.RandomMap):
  """Record -> what `encode_scenes` takes, under random choices.

  Attributes:
    options: frames and size.
    tokenizer: of captions.
    depth: which depth is shown.
  """

  options: transforms.ExampleOptions
  tokenizer: tokenizer.Tokenizer
  depth: DepthShares

  def random_map(
    self, item: transforms.Item, rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    """Returns tracks, intrinsics, image, depth, whose it is, and text."""
    example = transforms.scene_example(item, self.options, rng)
    names = ("tracks", "intrinsics", "image", "depth")
    place, shares = rng.random(), self.depth
    if place < shares.noisy:
      example["depth"] = NOISE.draw(example["depth"], rng)
    estimated = shares.noisy <= place < shares.noisy + shares.network
    return {
      **{name: example[name] for name in names},
      "estimated": np.asarray(estimated),
      "text": self.tokenizer([example["caption"]])[0],
    }


def encode_scenes(
  video_vae: networks.BoundModule,
  motion_vae: networks.BoundModule,
  normalisation: motion.MotionNormalisation,
  batch: Mapping[str, Any],
  depth_network: networks.BoundModule | None = None,
) -> dict[str, Array]:
  """Latents that STraG trains on; beside them are `features`.

  Args:
    video_vae: encodes pictures; with the statistics of its latents.
    motion_vae: encodes motion.
    normalisation: of the motion.
    batch: of `SceneExample`.
    depth_network: estimates depth where the batch wants it.

  Returns: see training.objectives.strag; motion latents are raw moments, the
    conditions normalised modes.
  """
  tracks, picture = batch["tracks"], batch["image"]
  frames = tracks.shape[1]
  alpha = normalisation.alpha(batch["intrinsics"], *tracks.shape[2:4])
  moved, _, _ = motion.normalise(tracks, alpha, normalisation.mode)
  mean, logvar = networks.posterior(motion_vae, moved)
  depth = batch["depth"]
  if depth_network is not None:
    found = depth_network(picture.astype(jnp.float32) / 255.0)
    depth = jnp.where(batch["estimated"][:, None, None], found, depth)
  picture = picture.astype(jnp.float32) / 127.5 - 1.0
  stills = [picture, depth_geometry.depth_image(depth)]
  control, depth = networks.encode_stills(video_vae, stills, frames)
  return {
    "motion_mean": mean,
    "motion_logvar": logvar,
    "control": control,
    "depth": depth,
    "reference": control[:, 0],
  }
