"""What ViSM trains on: a scene's points seen by another camera, and its film.

Each full record gives two examples: its first other camera, whose holes are
what the first picture does not show, and its own camera, whose holes are what
moving things uncover.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from more4d_jax import errors
from more4d_jax.data import loader, transforms
from more4d_jax.models import vism
from more4d_jax.models.encoders import tokenizer
from more4d_jax.rendering import render_video
from more4d_jax.sampling import networks, sample_vism

CAMERAS = 2


class Films:
  """Pairs (record, camera number), both cameras of a record in a row."""

  def __init__(self, records: loader.Source):
    """Keeps the records."""
    self._records = records

  def __len__(self) -> int:
    """Number of films."""
    return CAMERAS * len(self._records)

  def __getitem__(self, index: int) -> tuple[transforms.Item, int]:
    """Returns the record and the camera, 0 for another, 1 for its own."""
    return self._records[index // CAMERAS], index % CAMERAS


@dataclasses.dataclass(frozen=True)
class FilmExample:
  """Film -> what `encode_films` takes.

  Attributes:
    options: frames and size.
    tokenizer: of captions.
  """

  options: transforms.ExampleOptions
  tokenizer: tokenizer.Tokenizer

  def __call__(
    self, film: tuple[transforms.Item, int]
  ) -> dict[str, np.ndarray]:
    """Returns tracks, intrinsics, image, film, poses and text.

    Raises:
      UserError: if the record is light, has no view, or its tracks are not in
        the first camera's frame.
    """
    item, camera = film
    if item.decode(("tracks_frame",))["tracks_frame"] != "first_camera":
      raise errors.UserError(
        "ViSM needs tracks in the first camera's frame, found records with "
        "tracks in each camera's own: use procedural records"
      )
    if camera == 0:
      example = transforms.view_example(item, self.options)
    else:
      example = transforms.scene_example(item, self.options)
      frames = len(example["tracks"])
      poses = item.decode(("world_from_camera",))["world_from_camera"]
      example["target_world_from_camera"] = poses[:frames]
      example["target_video"] = transforms.video_example(item, self.options)[
        "video"
      ]
    names = ("tracks", "intrinsics", "image", "target_video")
    return {
      **{name: example[name] for name in names},
      "poses": example["target_world_from_camera"],
      "text": self.tokenizer([example["caption"]])[0],
    }


def render_batch(
  batch: Mapping[str, Any],
) -> tuple[Float[Array, "B T H W 3"], Bool[Array, "B T H W"]]:
  """Renders each scene from its film's camera; colour in [0, 1], coverage."""
  height, width = batch["tracks"].shape[2:4]
  options = render_video.RenderOptions(height=height, width=width)

  def one(scene: Any) -> tuple[Array, Array]:
    tracks, image, poses, intrinsics = scene
    camera = jnp.broadcast_to(intrinsics, (tracks.shape[0], 4))
    colour, _, coverage = render_video.render_frames(
      tracks, image, poses, camera, intrinsics, options
    )
    return colour, coverage

  image = batch["image"].astype(jnp.float32) / 255.0
  return jax.lax.map(
    one, (batch["tracks"], image, batch["poses"], batch["intrinsics"])
  )


def encode_films(
  video_vae: networks.BoundModule, batch: Mapping[str, Any]
) -> dict[str, Array]:
  """Latents that ViSM trains on.

  Args:
    video_vae: with the statistics of its latents.
    batch: of `FilmExample`.

  Returns: see training.objectives.vism; the film's latents are raw moments,
    the rendering's normalised modes.
  """
  rendering, coverage = render_batch(batch)
  target = batch["target_video"].astype(jnp.float32) / 127.5 - 1.0
  mean, logvar = networks.posterior(video_vae, target)
  masked = sample_vism.masked_video(rendering, coverage)
  return {
    "target_mean": mean,
    "target_logvar": logvar,
    "masked": networks.encode_video(video_vae, masked),
    "mask": vism.pack_mask(~coverage),
    "image": batch["image"],
    "text": batch["text"],
  }
