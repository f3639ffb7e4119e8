"""Task `video_vae`."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import locations
from more4d_jax.data import transforms, windows
from more4d_jax.evaluation import video_metrics
from more4d_jax.experiment import measurement, model_config, run_config
from more4d_jax.experiment import task as tasks
from more4d_jax.models import video_vae
from more4d_jax.training.objectives import base
from more4d_jax.training.objectives import video_vae as objective
from more4d_jax.viewing import panels


@dataclasses.dataclass(frozen=True)
class InitFrom:
  """Optional: weights to go on from."""

  video_vae: str


@dataclasses.dataclass(frozen=True)
class VideoVAERunConfig(run_config.RunConfig):
  """Besides what every task has.

  Attributes:
    init_from, augment, loss: sections.
    clip_frames: of a clip; 0 for those of the size, 1 for single pictures.
    window: side in pixels of the windows that are trained on; 0 for whole
      pictures.
    statistics_records: records whose latents make the statistics.
  """

  init_from: InitFrom
  augment: run_config.AugmentConfig
  loss: objective.VideoLoss
  clip_frames: int = run_config.setting(low=0)
  window: int = run_config.setting(low=0)
  statistics_records: int = run_config.setting(low=1)


class VideoVAETask(tasks.Task):
  """The whole autoencoder, on pictures, depth and made-up motion."""

  kind = "video_vae"
  config_class = VideoVAERunConfig
  config: VideoVAERunConfig

  @property
  def network(self) -> video_vae.VideoVAEConfig:
    """The configuration of the network."""
    return model_config.replace_fields(
      self.variant.video_vae,
      dtype=self.config.dtype,
      remat=self.config.memory.remat,
    )

  def objective(
    self, opened: tasks.Opened | None = None
  ) -> objective.VideoVAEObjective:
    """The loss."""
    del opened
    variant = self.variant
    return objective.VideoVAEObjective(
      config=self.network,
      weights=self.config.loss,
      video_size=(variant.frames, variant.height, variant.width),
    )

  @property
  def example(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """A film and its depth, of whole pictures or of windows."""
    options, window = self.options(), self.config.window
    picture = (window, window) if window else (options.height, options.width)
    size = (options.frames, *picture)
    return {
      "video": jax.ShapeDtypeStruct((*size, 3), jnp.uint8),
      "depth": jax.ShapeDtypeStruct(size, jnp.float32),
    }

  def options(self, **changes: Any) -> transforms.ExampleOptions:
    """Frames and size of examples; single pictures come before clips."""
    options = super().options(**changes)
    frames = self.config.clip_frames or options.frames
    return dataclasses.replace(options, frames=frames)

  def train_set(self, opened: tasks.Opened) -> tasks.DataSet:
    """Clips that start anywhere, or windows of them."""
    options = self.options(
      random_clip=True, **dataclasses.asdict(self.config.augment)
    )
    function = transforms.video_example
    if self.config.window:
      function = windows.VideoWindow(self.config.window)
    return tasks.DataSet(
      opened.training, tasks.random_example(function, options)
    )

  def held_out(self, opened: tasks.Opened) -> tasks.DataSet:
    """Clips from their first frame."""
    transform = tasks.FixedExample(transforms.video_example, self.options())
    return tasks.DataSet(opened.held_out, transform)

  def evaluate(
    self,
    opened: tasks.Opened,
    params: Any,
    step: int,
    folder: locations.Location,
  ) -> Mapping[str, float]:
    """Reconstructs held-out films of pictures and of depth."""
    examples = self.shown_examples(opened, transforms.video_example)
    reconstruct = measurement.compiled(
      functools.partial(_reconstruct, self.objective().network), params
    )
    videos = np.stack([e["video"] for e in examples])
    depths = measurement.apply_in_batches(_depth_video, examples)
    shown = [{"video": video} for video in videos]
    found = measurement.apply_in_batches(reconstruct, shown)
    found_depth = measurement.apply_in_batches(
      reconstruct, [{"video": video} for video in depths]
    )
    for number in range(len(examples)):
      rows = (videos, found, depths, found_depth)
      labels = ("true", "decoded", "depth", "decoded")
      self.save_video(
        folder,
        step,
        number,
        panels.side_by_side([v[number] for v in rows], labels),
      )
    return {
      "psnr": video_metrics.psnr(found, videos),
      "depth_psnr": video_metrics.psnr(found_depth, depths),
    }

  def metadata(self, opened: tasks.Opened, params: Any) -> dict[str, Any]:
    """Statistics of the latents of training films."""
    network = self.objective().network

    def encode(params: Any, batch: Mapping[str, Any]) -> Any:
      video = 2.0 * base.unit_image(batch["video"]) - 1.0
      return network.apply({"params": params}, video, method="encode")

    transform = tasks.FixedExample(transforms.video_example, self.options())
    data = tasks.DataSet(opened.training, transform)
    stats = measurement.measure_latents(
      measurement.compiled(encode, params),
      measurement.statistics_batches(data, self.config.statistics_records),
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
