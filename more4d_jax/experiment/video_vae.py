"""Task `video_vae`."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.data import transforms
from more4d_jax.evaluation import video_metrics
from more4d_jax.experiment import settings
from more4d_jax.experiment import task as tasks
from more4d_jax.models import video_vae
from more4d_jax.training.objectives import base
from more4d_jax.training.objectives import video_vae as objective
from more4d_jax.viewing import panels


class VideoVAETask(tasks.Task):
  """The whole autoencoder, on pictures, depth and made-up motion."""

  kind = "video_vae"

  @property
  def network(self) -> video_vae.VideoVAEConfig:
    """The configuration of the network."""
    return tasks.model(self.config, self.variant.video_vae)

  @property
  def objective(self) -> objective.VideoVAEObjective:
    """The loss."""
    variant = self.variant
    return objective.VideoVAEObjective(
      config=self.network,
      weights=settings.section(objective.VideoLoss, self.config.loss),
      video_size=(variant.frames, variant.height, variant.width),
    )

  def options(self, **changes: Any) -> transforms.ExampleOptions:
    """Frames and size of examples; single pictures come before clips."""
    options = super().options(**changes)
    frames = self.config.clip_frames or options.frames
    return dataclasses.replace(options, frames=frames)

  def train_set(self) -> tasks.DataSet:
    """Clips that start anywhere."""
    options = self.options(random_clip=True, **self.config.augment.to_dict())
    return tasks.DataSet(
      self.records[0],
      tasks.random_example(transforms.video_example, options),
    )

  def held_out(self) -> tasks.DataSet:
    """Clips from their first frame."""
    transform = tasks.FixedExample(transforms.video_example, self.options())
    return tasks.DataSet(self.records[1], transform)

  def look(
    self, params: Any, step: int, folder: pathlib.Path
  ) -> Mapping[str, float]:
    """Reconstructs held-out films of pictures and of depth."""
    examples = self.shown(transforms.video_example)
    reconstruct = tasks.compiled(
      functools.partial(_reconstruct, self.objective.network), params
    )
    videos = np.stack([e["video"] for e in examples])
    depths = tasks.apply_in_batches(_depth_video, examples)
    shown = [{"video": video} for video in videos]
    found = tasks.apply_in_batches(reconstruct, shown)
    found_depth = tasks.apply_in_batches(
      reconstruct, [{"video": video} for video in depths]
    )
    for number in range(len(examples)):
      rows = (videos, found, depths, found_depth)
      labels = ("true", "decoded", "depth", "decoded")
      self.save(
        folder,
        step,
        number,
        panels.side_by_side([v[number] for v in rows], labels),
      )
    return {
      "psnr": video_metrics.psnr(found, videos),
      "depth_psnr": video_metrics.psnr(found_depth, depths),
    }

  def metadata(self, params: Any) -> dict[str, Any]:
    """Statistics of the latents of training films."""
    network = self.objective.network

    def encode(params: Any, batch: Mapping[str, Any]) -> Any:
      video = 2.0 * base.unit_image(batch["video"]) - 1.0
      return network.apply({"params": params}, video, method="encode")

    transform = tasks.FixedExample(transforms.video_example, self.options())
    data = tasks.DataSet(self.records[0], transform)
    stats = tasks.measure_latents(
      tasks.compiled(encode, params),
      tasks.statistics_batches(data, self.config.statistics_records),
      self.network.latent_channels,
    )
    return {"latent_stats": stats.to_json()}


def _reconstruct(
  network: video_vae.VideoVAE, params: Any, batch: Mapping[str, Any]
) -> Any:
  """Decodes the mean of films; bytes in, bytes out."""
  clips = 2.0 * base.unit_image(batch["video"]) - 1.0
  decoded = network.apply({"params": params}, clips)
  return jnp.round(127.5 * (decoded + 1.0)).astype(jnp.uint8)


@jax.jit
def _depth_video(batch: Mapping[str, Any]) -> Any:
  clip = objective.depth_clip(batch["depth"])
  return jnp.round(127.5 * (clip + 1.0)).astype(jnp.uint8)
