"""Monocular metric depth: absolute error of the logarithm."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from more4d_jax.models.encoders import depth as depth_model
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base


@dataclasses.dataclass(frozen=True)
class DepthLoss:
  """Weights of the depth loss.

  Attributes:
    gradient: weight of the error's differences between neighbours, at scales
      1, 2 and 4; keeps edges sharp.
    shape: weight of the error without each picture's mean: how far a scene is
      cannot be told from its picture alone, its shape can.
    sky: weight of pixels of unknown depth that are nearer than the farthest
      known one of their picture. For records in which unknown means sky, as
      in procedural ones; 0 where it means holes of a sensor.
  """

  gradient: float = 0.5
  shape: float = 0.0
  sky: float = 0.0


def log_depth_loss(
  predicted: Float[Array, "B H W"],
  depth: Float[Array, "B H W"],
  weights: DepthLoss,
) -> tuple[Float[Array, ""], steps.Measured]:
  """Mean |log predicted - log true| over known pixels, scale included.

  Args:
    predicted: metres, positive.
    depth: metres; NaN, infinite or not positive is unknown.
    weights: of the terms.
  """
  known = jnp.isfinite(depth) & (depth > 0)
  true = jnp.where(known, depth, 1.0)
  error = jnp.log(predicted) - jnp.log(true)
  value = base.masked_mean(jnp.abs(error), known)
  edges = jnp.float32(0.0)
  for stride in (1, 2, 4):
    edges += _gradient(
      error[:, ::stride, ::stride], known[:, ::stride, ::stride]
    )
  shape = base.masked_mean(jnp.abs(error - _mean_of_each(error, known)), known)
  relative = base.masked_mean(jnp.abs(predicted / true - 1.0), known)
  farthest = jnp.max(jnp.where(known, true, 0.0), axis=(1, 2), keepdims=True)
  nearer = jnp.log(jnp.maximum(farthest, predicted)) - jnp.log(predicted)
  loss = value + weights.gradient * edges + weights.shape * shape
  loss += weights.sky * base.masked_mean(nearer, ~known)
  return loss, {
    "log_error": value,
    "shape_error": shape,
    "relative_error": relative,
  }


def _mean_of_each(
  error: Float[Array, "B H W"], known: Bool[Array, "B H W"]
) -> Float[Array, "B 1 1"]:
  """Mean over the known pixels of each picture; 0 where none is."""
  total = jnp.sum(jnp.where(known, error, 0.0), axis=(1, 2), keepdims=True)
  return total / jnp.maximum(jnp.sum(known, axis=(1, 2), keepdims=True), 1)


def _gradient(
  error: Float[Array, "B H W"], known: Bool[Array, "B H W"]
) -> Float[Array, ""]:
  """Mean absolute difference between neighbours that are both known."""
  across = base.masked_mean(
    jnp.abs(jnp.diff(error, axis=2)), known[:, :, 1:] & known[:, :, :-1]
  )
  down = base.masked_mean(
    jnp.abs(jnp.diff(error, axis=1)), known[:, 1:] & known[:, :-1]
  )
  return across + down


@dataclasses.dataclass(frozen=True)
class DepthObjective:
  """Depth of single pictures."""

  config: depth_model.DepthConfig
  weights: DepthLoss
  image_size: tuple[int, int]

  @property
  def network(self) -> depth_model.DepthNetwork:
    """The module; it holds no values."""
    return depth_model.DepthNetwork(self.config)

  def init(self, key: Key[Array, ""]) -> Any:
    """Returns boxed parameters."""
    return self.network.init(key, jnp.zeros((1, *self.image_size, 3)))["params"]

  def loss(
    self, params: Any, batch: Mapping[str, Array], keys: steps.Keys
  ) -> tuple[Float[Array, ""], steps.Measured]:
    """Returns the loss of a batch of pictures and their depth."""
    del keys  # Nothing is drawn.
    image = base.unit_image(batch["image"])
    predicted = self.network.apply({"params": params}, image)
    return log_depth_loss(predicted, batch["depth"], self.weights)
