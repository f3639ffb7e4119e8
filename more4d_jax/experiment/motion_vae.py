"""Task `motion_vae` (stage A)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import errors, locations
from more4d_jax.data import transforms, windows
from more4d_jax.evaluation import linear_code
from more4d_jax.experiment import (
  measurement,
  model_config,
  run_config,
)
from more4d_jax.experiment import task as tasks
from more4d_jax.geometry import motion as motion_geometry
from more4d_jax.models import latent_stats, motion_vae
from more4d_jax.training.objectives import motion_vae as objective
from more4d_jax.viewing import panels


@dataclasses.dataclass(frozen=True)
class InitFrom:
  """The video VAE is needed; a motion VAE to go on from is optional."""

  video_vae: str
  motion_vae: str


@dataclasses.dataclass(frozen=True)
class MotionVAERunConfig(run_config.RunConfig):
  """Besides what every task has.

  Attributes:
    init_from, motion, augment, loss: sections.
    window: side in pixels of the windows that are trained on; 0 for whole
      pictures.
    gain: of motion, which is small beside a video's range; see
      `models.motion_vae`.
    decoder_rate: factor of the learning rate of the VAE's decoder.
    statistics_records: records whose latents make the statistics.
  """

  init_from: InitFrom
  motion: run_config.MotionConfig
  augment: run_config.AugmentConfig
  loss: objective.MotionLoss
  window: int = run_config.setting(low=0)
  gain: float
  decoder_rate: float = run_config.setting(low=0)
  statistics_records: int = run_config.setting(low=1)


class MotionVAETask(tasks.Task):
  """Trajectory networks around a video VAE whose encoder is frozen."""

  kind = "motion_vae"
  config_class = MotionVAERunConfig
  needs = ("video_vae",)
  config: MotionVAERunConfig

  @property
  def network(self) -> motion_vae.MotionVAEConfig:
    """The configuration of the network."""
    network = model_config.replace_fields(
      self.variant.motion_vae,
      dtype=self.config.dtype,
      remat=self.config.memory.remat,
    )
    return dataclasses.replace(network, gain=self.config.gain)

  def objective(
    self, opened: tasks.Opened | None = None
  ) -> objective.MotionVAEObjective:
    """The loss."""
    del opened
    variant = self.variant
    return objective.MotionVAEObjective(
      config=self.network,
      weights=self.config.loss,
      normalisation=self.config.motion.read(),
      video_size=(variant.frames, variant.height, variant.width),
    )

  @property
  def example(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """Tracks, of whole pictures or of windows, and the camera."""
    variant, window = self.variant, self.config.window
    size = (window, window) if window else (variant.height, variant.width)
    return {
      "tracks": jax.ShapeDtypeStruct((variant.frames, *size, 3), jnp.float32),
      "intrinsics": jax.ShapeDtypeStruct((4,), jnp.float32),
    }

  @property
  def trainable(self) -> Sequence[str]:
    """Both trajectory networks and the VAE's decoder."""
    return ("trajectory_(encoder|decoder)/.*", "vae/decoder/.*")

  @property
  def multipliers(self) -> Mapping[str, float]:
    """The VAE's decoder may learn more slowly."""
    return {"vae/decoder/.*": self.config.decoder_rate}

  def open(self, workdir: locations.Location) -> tasks.Opened:
    """Opens the video VAE too.

    Raises:
      UserError: also if the motion VAE to go on from holds another one.
    """
    opened = super().open(workdir)
    start = opened.start
    if start and start.metadata.get("trained_on") != opened.trained_on:
      raise errors.UserError(
        "the motion VAE in init_from.motion_vae was trained on another video "
        "VAE than the one in init_from.video_vae: name the one it started from"
      )
    return opened

  def initial_params(self, opened: tasks.Opened) -> Mapping[str, Any]:
    """All parameters of a motion VAE to go on from, or the video VAE's."""
    if opened.start is None:
      return {"vae": opened.below["video_vae"].params}
    return opened.start.params

  def train_set(self, opened: tasks.Opened) -> tasks.DataSet:
    """Tracks, or windows of them, mirrored at random."""
    options = self.options(**dataclasses.asdict(self.config.augment))
    function = transforms.motion_example
    if self.config.window:
      function = windows.MotionWindow(self.config.window)
    return tasks.DataSet(
      opened.training, tasks.random_example(function, options)
    )

  def held_out(self, opened: tasks.Opened) -> tasks.DataSet:
    """Tracks as they are."""
    transform = tasks.FixedExample(transforms.motion_example, self.options())
    return tasks.DataSet(opened.held_out, transform)

  def evaluate(
    self,
    opened: tasks.Opened,
    params: Any,
    step: int,
    folder: locations.Location,
  ) -> Mapping[str, float]:
    """Decodes held-out tracks and compares moving pixels."""
    examples = self.shown_examples(opened, transforms.scene_example)
    names = ("tracks", "intrinsics")
    inputs = [{name: e[name] for name in names} for e in examples]
    task = self.objective()
    decode = measurement.compiled(functools.partial(_decode, task), params)
    found = measurement.apply_in_batches(decode, inputs)
    error = linear_code.MotionError()
    for number, example in enumerate(examples):
      predicted, true, moving, tracks = np.split(found[number], [3, 6, 7], -1)
      error.add(predicted, true, moving[0, ..., 0] > 0)
      self.save_video(
        folder,
        step,
        number,
        panels.predicted_and_true(
          example["image"], tracks, example["tracks"], example["intrinsics"]
        ),
      )
    return {"moving_error": error.relative}

  def metadata(self, opened: tasks.Opened, params: Any) -> dict[str, Any]:
    """Normalisation, and statistics of the latents of training motion."""
    task = self.objective()
    network = task.network

    def encode(params: Any, batch: Mapping[str, Any]) -> Any:
      moved, _ = objective.normalised_motion(
        batch, task.normalisation, task.video_size[1:]
      )
      return network.apply({"params": params}, moved, method="encode")

    transform = tasks.FixedExample(transforms.motion_example, self.options())
    data = tasks.DataSet(opened.training, transform)
    stats = measurement.measure_latents(
      measurement.compiled(encode, params),
      measurement.statistics_batches(data, self.config.statistics_records),
      self.network.vae.latent_channels,
    )
    video = opened.below["video_vae"].metadata
    base_stats = latent_stats.LatentStats.from_json(video["latent_stats"])
    trajectory = latent_stats.LatentStats(
      mean=(stats.mean - base_stats.mean) / base_stats.std,
      std=stats.std / base_stats.std,
    )
    return {
      "normalisation": dataclasses.asdict(task.normalisation),
      "base_latent_stats": base_stats.to_json(),
      "trajectory_latent_stats": trajectory.to_json(),
      "latent_stats": latent_stats.chain(base_stats, trajectory).to_json(),
    }


def _decode(
  task: objective.MotionVAEObjective, params: Any, batch: Mapping[str, Any]
) -> Any:
  """Decoded motion, true motion, moving mask and decoded tracks, [.. 10]."""
  variables, tracks = {"params": params}, batch["tracks"]
  moved, valid = objective.normalised_motion(
    batch, task.normalisation, task.video_size[1:]
  )
  decoded = task.network.apply(variables, moved)
  moving = objective.moving_mask(moved, valid)
  alpha = task.normalisation.alpha(batch["intrinsics"], *tracks.shape[2:4])
  mode, first = task.normalisation.mode, tracks[:, 0]
  scale = motion_geometry.scale_of(decoded, first, mode)
  found = motion_geometry.denormalise(decoded, first, alpha, mode, scale)
  mask = jnp.broadcast_to(
    moving[:, None, ..., None].astype(jnp.float32), (*moved.shape[:-1], 1)
  )
  return jnp.concatenate([decoded, moved, mask, found], axis=-1)
