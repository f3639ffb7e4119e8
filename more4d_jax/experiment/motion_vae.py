"""Task `motion_vae` (stage A)."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.data import transforms, windows
from more4d_jax.evaluation import linear_code
from more4d_jax.experiment import pretrained, settings
from more4d_jax.experiment import task as tasks
from more4d_jax.geometry import motion as motion_geometry
from more4d_jax.models import latent_stats, motion_vae
from more4d_jax.training.objectives import motion_vae as objective
from more4d_jax.viewing import panels


class MotionVAETask(tasks.Task):
  """Trajectory networks around a video VAE whose encoder is frozen."""

  kind = "motion_vae"
  _video_vae: store.Network | None = None

  @property
  def network(self) -> motion_vae.MotionVAEConfig:
    """The configuration of the network."""
    network = tasks.model(self.config, self.variant.motion_vae)
    return dataclasses.replace(network, gain=self.config.gain)

  @property
  def objective(self) -> objective.MotionVAEObjective:
    """The loss."""
    variant = self.variant
    return objective.MotionVAEObjective(
      config=self.network,
      weights=settings.section(objective.MotionLoss, self.config.loss),
      normalisation=settings.normalisation(self.config),
      video_size=(variant.frames, variant.height, variant.width),
    )

  @property
  def trainable(self) -> Sequence[str]:
    """Both trajectory networks and the VAE's decoder."""
    return ("trajectory_(encoder|decoder)/.*", "vae/decoder/.*")

  @property
  def multipliers(self) -> Mapping[str, float]:
    """The VAE's decoder may learn more slowly."""
    return {"vae/decoder/.*": self.config.decoder_rate}

  def prepare(self) -> None:
    """Loads the video VAE."""
    self._video_vae = pretrained.load(self.config, "video_vae", needed=True)

  def loaded(self) -> Mapping[str, Any]:
    """All parameters of a motion VAE to continue from, or the video VAE's.

    Raises:
      UserError: if that motion VAE holds another video VAE.
    """
    before = pretrained.load(self.config, "motion_vae", needed=False)
    if before is None:
      return {"vae": self._video_vae.params}
    if before.metadata.get("trained_on") != self.trained_on:
      raise errors.UserError(
        "the motion VAE in init_from.motion_vae was trained on another video "
        "VAE than the one in init_from.video_vae: name the one it started from"
      )
    return super().loaded()

  def train_set(self) -> tasks.DataSet:
    """Tracks, or windows of them, mirrored at random."""
    options = self.options(**self.config.augment.to_dict())
    function = transforms.motion_example
    if self.config.window:
      function = windows.MotionWindow(self.config.window)
    return tasks.DataSet(
      self.records[0], tasks.random_example(function, options)
    )

  def held_out(self) -> tasks.DataSet:
    """Tracks as they are."""
    transform = tasks.FixedExample(transforms.motion_example, self.options())
    return tasks.DataSet(self.records[1], transform)

  def look(
    self, params: Any, step: int, folder: pathlib.Path
  ) -> Mapping[str, float]:
    """Decodes held-out tracks and compares moving pixels."""
    examples = self.shown(transforms.scene_example)
    names = ("tracks", "intrinsics")
    inputs = [{name: e[name] for name in names} for e in examples]
    task = self.objective
    decode = tasks.compiled(functools.partial(_decode, task), params)
    found = tasks.apply_in_batches(decode, inputs)
    error = linear_code.MotionError()
    for number, example in enumerate(examples):
      predicted, true, moving, tracks = np.split(found[number], [3, 6, 7], -1)
      error.add(predicted, true, moving[0, ..., 0] > 0)
      self.save(
        folder,
        step,
        number,
        panels.predicted_and_true(
          example["image"], tracks, example["tracks"], example["intrinsics"]
        ),
      )
    return {"moving_error": error.relative}

  @property
  def trained_on(self) -> dict[str, str]:
    """The video VAE inside."""
    return {"video_vae": self._video_vae.metadata["identity"]}

  def metadata(self, params: Any) -> dict[str, Any]:
    """Normalisation, and statistics of the latents of training motion."""
    task = self.objective
    network = task.network

    def encode(params: Any, batch: Mapping[str, Any]) -> Any:
      moved, _ = objective.normalised_motion(
        batch, task.normalisation, task.video_size[1:]
      )
      return network.apply({"params": params}, moved, method="encode")

    transform = tasks.FixedExample(transforms.motion_example, self.options())
    data = tasks.DataSet(self.records[0], transform)
    stats = tasks.measure_latents(
      tasks.compiled(encode, params),
      tasks.statistics_batches(data, self.config.statistics_records),
      self.network.vae.latent_channels,
    )
    video = self._video_vae.metadata
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
