"""Mean and standard deviation of latents, used in both directions."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@flax.struct.dataclass
class LatentStats:
  """One mean and one standard deviation for each latent channel.

  Attributes:
    mean: [C] float32.
    std: [C] float32, positive.
  """

  mean: Any
  std: Any

  def normalise(
    self, latents: Float[Array, "*axes C"]
  ) -> Float[Array, "*axes C"]:
    """Subtracts the mean and divides by the standard deviation."""
    mean, std = (jnp.asarray(a, latents.dtype) for a in (self.mean, self.std))
    return (latents - mean) / std

  def denormalise(
    self, latents: Float[Array, "*axes C"]
  ) -> Float[Array, "*axes C"]:
    """Inverse of `normalise`."""
    mean, std = (jnp.asarray(a, latents.dtype) for a in (self.mean, self.std))
    return latents * std + mean

  def normalise_logvar(
    self, logvar: Float[Array, "*axes C"]
  ) -> Float[Array, "*axes C"]:
    """Log-variance of the normalised latent.

    The original leaves the log-variance as it is
    (docs/method/video_autoencoder.md#latent-scaling), so its samples carry
    noise `std` times too large; that is reached by not calling this.
    """
    return logvar - 2.0 * jnp.log(jnp.asarray(self.std, logvar.dtype))

  def to_json(self) -> dict[str, list[float]]:
    """Returns plain lists for a checkpoint's metadata."""
    return {
      "mean": np.asarray(self.mean, np.float64).tolist(),
      "std": np.asarray(self.std, np.float64).tolist(),
    }

  @classmethod
  def from_json(cls, values: Mapping[str, Sequence[float]]) -> "LatentStats":
    """Reads what `to_json` wrote.

    Raises:
      ValueError: if the lists differ in length or a deviation is not positive.
    """
    mean = np.asarray(values["mean"], np.float32)
    std = np.asarray(values["std"], np.float32)
    if mean.shape != std.shape or mean.ndim != 1:
      raise ValueError(
        f"latent statistics need one mean and one standard deviation a "
        f"channel, found {mean.shape} and {std.shape}"
      )
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
      raise ValueError("latent statistics are not finite")
    if (std <= 0).any():
      raise ValueError("latent standard deviations must be positive")
    return cls(mean=mean, std=std)


def identity(channels: int) -> LatentStats:
  """Statistics that change nothing."""
  return LatentStats(
    mean=np.zeros(channels, np.float32), std=np.ones(channels, np.float32)
  )


def chain(base: LatentStats, trajectory: LatentStats) -> LatentStats:
  """Statistics equal to normalising by `base`, then by `trajectory`."""
  return LatentStats(
    mean=base.mean + base.std * trajectory.mean, std=base.std * trajectory.std
  )


class LatentMoments:
  """Adds up latents batch by batch, in float64 on the host."""

  def __init__(self, channels: int):
    self._count = 0
    self._mean = np.zeros(channels)
    self._square = np.zeros(channels)  # Sum of squared deviations.

  def add(
    self,
    mean: Float[np.ndarray, "*axes C"],
    logvar: Float[np.ndarray, "*axes C"] | None = None,
  ) -> None:
    """Adds a batch of latents.

    Args:
      mean: posterior means, or latents.
      logvar: if given, the posterior's variance counts as spread.
    """
    channels = self._mean.shape[0]
    values = np.asarray(mean, np.float64).reshape(-1, channels)
    count = self._count + len(values)
    delta = values.mean(axis=0) - self._mean
    self._square += ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    self._square += delta**2 * self._count * len(values) / count
    if logvar is not None:
      variance = np.exp(np.asarray(logvar, np.float64)).reshape(-1, channels)
      self._square += variance.sum(axis=0)
    self._mean += delta * len(values) / count
    self._count = count

  def stats(self, minimum_std: float = 1e-6) -> LatentStats:
    """Returns the statistics of everything added.

    Raises:
      ValueError: if nothing was added.
    """
    if not self._count:
      raise ValueError("no latents were added, so they have no statistics")
    std = np.sqrt(self._square / self._count)
    return LatentStats(
      mean=self._mean.astype(np.float32),
      std=np.maximum(std, minimum_std).astype(np.float32),
    )


# Published statistics of the Wan 2.1 video autoencoder
# (docs/method/video_autoencoder.md#latent-scaling).
# fmt: off
WAN = LatentStats(
  mean=np.array([
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
  ], np.float32),
  std=np.array([
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
  ], np.float32),
)

# Of latents of motion videos already normalised by WAN, as the July 2026
# release decodes them (docs/method/video_autoencoder.md#trajectory-statistics).
TRAJECTORY = LatentStats(
  mean=np.array([
    0.9336646795272827, -1.5638998746871948, 0.09716760367155075,
    -0.0003718015505000949, -0.4085753560066223, 2.252105474472046,
    -1.7826536893844604, 1.4354853630065918, -0.9819669127464294,
    -0.7372986078262329, 1.0731526613235474, -1.6012202501296997,
    -1.4650976657867432, -0.640479326248169, -0.23738965392112732,
    -1.252833604812622,
  ], np.float32),
  std=np.array([
    0.4107, 0.5508, 0.2565, 0.3021, 0.2372, 0.5350, 0.3000, 0.4359,
    0.2033, 0.4194, 0.2107, 0.3985, 0.3314, 0.4098, 0.3906, 0.2863,
  ], np.float32),
)
# fmt: on
