"""AdamW with warm-up, a schedule, clipping and per-parameter rates."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from more4d_jax.training import moments as moments_lib
from more4d_jax.training import paths

SCHEDULES = ("constant", "cosine")
# Of fields that no number below makes sense for.
_LEAST = {
  "eps": 0,
  "weight_decay": 0,
  "clip_ramp_steps": 0,
  "clip_outlier_ratio": 0,
  "warmup_steps": 0,
  "skip_loss_above": 0,
  "skip_after": 0,
  "outlier_deviations": 0,
  "outlier_window": 1,
  "outlier_after": 1,
}
_HARDEST_CUT = 10.0  # Largest factor by which an outlier is clipped further.


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW and what surrounds it.

  Attributes:
    learning_rate: peak rate.
    b1, b2, eps, weight_decay: AdamW's own; the decay acts on every parameter,
      as in the original.
    clip: largest global gradient norm; the whole gradient is scaled down.
    clip_ramp_factor: the clip value falls linearly from this multiple of
      `clip` to `clip` over `clip_ramp_steps` steps
      (docs/method/flow_matching.md#gradient-clipping).
    clip_ramp_steps: 0 means a constant clip value.
    clip_outlier_ratio: after the ramp, a norm that exceeds the clip value by
      more than this factor is clipped further, by the smaller of its own
      factor and 10; 0 never does
      (docs/method/flow_matching.md#gradient-clipping).
    warmup_steps: the rate rises linearly from 0 over these updates.
    warmup_from_zero: the first update has rate 0, as in the original, so that
      the peak comes one update later.
    schedule: "constant", or "cosine" down to `final_fraction` of the peak.
    final_fraction: see `schedule`.
    ema_decay: of the averaged parameters; the average follows quickly in the
      first steps, with decay min(ema_decay, (1 + step) / (10 + step)). 0 keeps
      no average: the parameters themselves are the result.
    rates: factors of the learning rate, as "PATTERN=FACTOR" with spaces
      between them. A pattern is a regular expression of a parameter's whole
      path, as in "dit/blocks/.*=0.5"; the first that matches counts.
    skip_loss_above: a step whose loss is above it changes nothing and is
      counted; 0 never skips. Steps up to `skip_after` are never skipped.
    skip_after: see `skip_loss_above`.
    outlier_deviations: a step whose loss exceeds the mean of the earlier
      losses by more than this number of standard deviations, or whose loss or
      gradient is not finite, changes nothing and is counted; 0 never skips
      (docs/method/trajectories.md#objective).
    outlier_window: number of losses whose mean and deviation are taken.
    outlier_after: number of losses after which finite ones are judged, at
      least 1.
  """

  learning_rate: float = 1e-4
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  weight_decay: float = 1e-2
  clip: float = 1.0
  clip_ramp_factor: float = 1.0
  clip_ramp_steps: int = 0
  clip_outlier_ratio: float = 0.0
  warmup_steps: int = 100
  warmup_from_zero: bool = False
  schedule: str = "constant"
  final_fraction: float = 0.0
  ema_decay: float = 0.999
  rates: str = ""
  skip_loss_above: float = 0.0
  skip_after: int = 50
  outlier_deviations: float = 0.0
  outlier_window: int = 1000
  outlier_after: int = 100

  def __post_init__(self) -> None:
    for name in ("learning_rate", "clip"):
      value = getattr(self, name)
      if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}: expected a positive number")
    for name, low in _LEAST.items():
      value = getattr(self, name)
      if not value >= low:
        raise ValueError(f"{name} is {value}: expected at least {low}")
    if self.schedule not in SCHEDULES:
      raise ValueError(
        f"schedule is {self.schedule!r}: choose one of {', '.join(SCHEDULES)}"
      )
    if not 0 <= self.ema_decay < 1:
      raise ValueError(
        f"ema_decay is {self.ema_decay}: expected 0 (no average) to below 1"
      )
    self.multipliers  # noqa: B018 (it raises)

  @property
  def multipliers(self) -> dict[str, float]:
    """Pattern -> factor of the learning rate, of `rates`.

    Raises:
      ValueError: if `rates` cannot be read.
    """
    found = {}
    for item in self.rates.split():
      pattern, _, factor = item.rpartition("=")
      try:
        re.compile(pattern)
        found[pattern] = float(factor)
      except (re.error, ValueError) as error:
        raise ValueError(
          f"rates has {item!r}: expected a regular expression of paths and a "
          "factor, as in dit/blocks/.*=0.5"
        ) from error
      if not (pattern and math.isfinite(found[pattern])):
        raise ValueError(
          f"rates has {item!r}: expected a pattern and a finite factor"
        )
    return found

  @property
  def averages(self) -> bool:
    """Whether there are averaged parameters."""
    return self.ema_decay > 0

  @property
  def skips(self) -> bool:
    """Whether any rule may leave a step out."""
    return bool(self.skip_loss_above or self.outlier_deviations)

  @property
  def window(self) -> int:
    """Number of losses that the state remembers."""
    return self.outlier_window if self.outlier_deviations else 0


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
  """Returns the rate as a function of the update's number, from 0."""
  peak = config.learning_rate
  if config.schedule == "constant":
    after = optax.constant_schedule(peak)
  else:
    steps = max(num_steps - config.warmup_steps, 1)
    after = optax.cosine_decay_schedule(peak, steps, config.final_fraction)
  if not config.warmup_steps:
    return after
  if config.warmup_from_zero:
    warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
  else:  # The first update already moves: rate peak/warmup at update 0.
    warmup = optax.linear_schedule(
      peak / config.warmup_steps, peak, config.warmup_steps - 1 or 1
    )
  return optax.join_schedules([warmup, after], [config.warmup_steps])


def clip_value(
  config: OptimizerConfig,
  step: Array | int,
  norm: Float[Array, ""] | float = 0.0,
) -> Float[Array, ""]:
  """Returns the norm that a gradient of a norm is cut to at a step."""
  limit = jnp.float32(config.clip)
  if config.clip_ramp_steps:
    progress = jnp.minimum(step / config.clip_ramp_steps, 1.0)
    factor = config.clip_ramp_factor
    limit = limit * (factor + (1.0 - factor) * progress)
  if config.clip_outlier_ratio:
    ratio = norm / limit
    outlier = (step > config.clip_ramp_steps) & (
      ratio > config.clip_outlier_ratio
    )
    harder = limit / jnp.minimum(ratio, _HARDEST_CUT)
    limit = jnp.where(outlier, harder, limit)
  return limit


def scale_by_path(
  multipliers: Mapping[str, float],
) -> optax.GradientTransformation:
  """Multiplies the updates of parameters whose path matches a pattern.

  AdamW's update, decay included, is proportional to its rate, so this is a
  learning rate per group of parameters.

  Args:
    multipliers: regular expression of a whole path ("vae/decoder/.*") ->
      factor; the first match counts, and no match means 1.
  """

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    del params
    scaled = paths.map_with_path(
      lambda path, u: u * paths.first_match(multipliers, path, 1.0), updates
    )
    return scaled, state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def make_optimizer(
  config: OptimizerConfig,
  num_steps: int,
  multipliers: Mapping[str, float],
  moments: str = "float32",
) -> optax.GradientTransformation:
  """Returns AdamW with its schedule; clipping is the train step's.

  Args:
    config: of the rates.
    num_steps: in all, for the schedule.
    multipliers: see `scale_by_path`; those of the configuration come first.
    moments: how they are held, see `memory.MemoryConfig`.
  """
  adam = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
  if moments != "float32":
    adam = moments_lib.in_few_bits(adam, moments)
  return optax.chain(
    optax.chain(  # As `optax.adamw` nests them.
      adam,
      optax.add_decayed_weights(config.weight_decay),
      optax.scale_by_learning_rate(learning_rate(config, num_steps)),
    ),
    scale_by_path({**config.multipliers, **multipliers}),
  )


def clip_gradients(
  gradients: Any, config: OptimizerConfig, step: Array | int
) -> tuple[Any, Float[Array, ""]]:
  """Scales a gradient tree down as a step allows; returns it and its norm."""
  norm = optax.global_norm(gradients)
  limit = clip_value(config, step, norm)
  factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-12))
  return jax.tree.map(lambda g: g * factor, gradients), norm
