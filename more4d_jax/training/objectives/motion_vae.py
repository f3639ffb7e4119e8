"""Motion VAE (stage A): trajectories through the video VAE and back.

Source: docs/method/trajectories.md#objective. Differs from the original: the
gradient passes the frozen VAE encoder and reaches the trajectory encoder, and
invalid pixels do not count.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from more4d_jax.geometry import motion as motion_geometry
from more4d_jax.models import motion_vae as motion_model
from more4d_jax.models import video_vae
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base

# Motion by more than this share of a point's depth counts as moving.
MOVING = 0.01
SCALES = ("sum", "mean")


@dataclasses.dataclass(frozen=True)
class MotionLoss:
  """Weights of the loss.

  Attributes:
    kl: weight of the divergence, summed over a sample's latents, as in the
      original.
    l2: weight of the squared error beside the absolute one.
    moving: share of the loss that counts moving pixels only; the rest counts
      all valid pixels alike.
    jerk: weight of the absolute third difference of the error along time, so
      that decoded points do not tremble; clips of three frames have none.
    scale: the mean error is multiplied by the number of values of a sample
      (3 T H W) where this is "sum", so that published rates and clip values
      keep their meaning, and by 1 where it is "mean".
    train_encoder: let the gradient pass the VAE encoder; False reproduces
      the original, whose trajectory encoder never learns.
  """

  kl: float = 1e-6
  l2: float = 0.0
  moving: float = 0.0
  jerk: float = 0.0
  scale: str = "sum"
  train_encoder: bool = True

  def __post_init__(self) -> None:
    if self.scale not in SCALES:
      raise ValueError(
        f"scale is {self.scale!r}: choose one of {', '.join(SCALES)}"
      )


def normalised_motion(
  batch: Mapping[str, Array],
  normalisation: motion_geometry.MotionNormalisation,
  picture_size: tuple[int, int],
) -> tuple[Float[Array, "B T H W 3"], Bool[Array, "B H W"]]:
  """Motion and validity of tracks, of whole pictures or of windows.

  Args:
    batch: `tracks` [B T H W 3] and `intrinsics` [B 4].
    normalisation: of the motion.
    picture_size: height and width of the whole picture, which the camera
      factors refer to also where `tracks` are those of a window.
  """
  tracks = batch["tracks"]
  alpha = normalisation.alpha(batch["intrinsics"], *picture_size)
  motion, valid, _ = motion_geometry.normalise(
    tracks, alpha, normalisation.mode
  )
  return motion, valid


def moving_mask(
  motion: Float[Array, "B T H W 3"], valid: Bool[Array, "B H W"]
) -> Bool[Array, "B H W"]:
  """Valid pixels whose point ever moves by more than MOVING."""
  length = jnp.max(jnp.linalg.norm(motion, axis=-1), axis=1)
  return valid & (length > MOVING)


def _jerk(
  error: Float[Array, "B T H W 3"], valid: Bool[Array, "B H W"]
) -> Float[Array, ""]:
  """Mean absolute third difference along time over valid pixels."""
  jerk = jnp.abs(jnp.diff(error, n=3, axis=1))
  mask = jnp.broadcast_to(valid[:, None, ..., None], jerk.shape)
  return base.masked_mean(jerk, mask)


@dataclasses.dataclass(frozen=True)
class MotionVAEObjective:
  """Reconstruction of motion under a small divergence."""

  config: motion_model.MotionVAEConfig
  weights: MotionLoss
  normalisation: motion_geometry.MotionNormalisation
  video_size: tuple[int, int, int]

  @property
  def network(self) -> motion_model.MotionVAE:
    """The module; it holds no values."""
    return motion_model.MotionVAE(self.config)

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters, the VAE's included."""
    return self.network.init(key, jnp.zeros((1, *self.video_size, 3)))["params"]

  def loss(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> tuple[Float[Array, ""], steps.Measured]:
    """Returns the loss of a batch of tracks."""
    motion, valid = normalised_motion(
      batch, self.normalisation, self.video_size[1:]
    )
    variables = {"params": params}
    mean, logvar = self.network.apply(variables, motion, method="encode")
    if not self.weights.train_encoder:
      mean, logvar = jax.lax.stop_gradient((mean, logvar))
    latents = base.sample_posterior(mean, logvar, keys)
    decoded = self.network.apply(variables, latents, method="decode")
    error = jnp.where(valid[:, None, ..., None], decoded - motion, 0.0)
    moving = moving_mask(motion, valid)
    size = error[0].size
    value = (1 - self.weights.moving) * self._error(error, valid)
    if self.weights.moving:
      value += self.weights.moving * self._error(error, moving)
    if self.weights.jerk:
      value += self.weights.jerk * _jerk(error, valid)
    divergence = video_vae.kl_divergence(mean, logvar)
    divergence = jnp.sum(divergence) / motion.shape[0]
    factor = size if self.weights.scale == "sum" else 1
    loss = factor * (value + self.weights.kl * divergence / size)
    return loss, {
      "error": value,
      "kl": divergence,
      **self._figures(error, motion, moving),
    }

  def _error(
    self, error: Float[Array, "B T H W 3"], mask: Bool[Array, "B H W"]
  ) -> Float[Array, ""]:
    full = jnp.broadcast_to(mask[:, None, ..., None], error.shape)
    value = base.masked_mean(jnp.abs(error), full)
    if self.weights.l2:
      value += self.weights.l2 * base.masked_mean(jnp.square(error), full)
    return value

  def _figures(
    self,
    error: Float[Array, "B T H W 3"],
    motion: Float[Array, "B T H W 3"],
    moving: Bool[Array, "B H W"],
  ) -> steps.Measured:
    """Root mean square error of moving pixels relative to their motion."""
    full = jnp.broadcast_to(moving[:, None, ..., None], error.shape)
    square = base.masked_mean(jnp.square(error), full)
    power = base.masked_mean(jnp.square(motion), full)
    return {"moving_error": jnp.sqrt(square / jnp.maximum(power, 1e-12))}
