"""Which steps are left out because their loss stands apart.

Source: docs/method/trajectories.md#objective.

The rule remembers the newest losses that were trained on. A loss far above
their mean, or one that is not finite, changes nothing: neither the parameters
nor what is remembered.
"""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

# Where the remembered losses do not vary, this multiple of their mean counts.
_FLAT_MULTIPLE = 10.0
_FLAT = 1e-6


@struct.dataclass
class LossHistory:
  """The newest losses, in a ring; leaves as those of `state.TrainState`.

  Attributes:
    losses: float32 [W]; the slots that are not filled yet are 0.
    count: how many losses were recorded in all, int32 scalar.
  """

  losses: Any
  count: Any


def empty(window: int) -> LossHistory:
  """A history that will hold `window` losses."""
  return LossHistory(jnp.zeros(window, jnp.float32), jnp.int32(0))


def moments(history: LossHistory) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Mean and standard deviation (population) of what is remembered."""
  window = len(history.losses)
  filled = jnp.arange(window) < history.count
  number = jnp.maximum(jnp.minimum(history.count, window), 1)
  mean = jnp.sum(history.losses, where=filled) / number
  square = jnp.sum(jnp.square(history.losses - mean), where=filled) / number
  return mean, jnp.sqrt(square)


def is_outlier(
  history: LossHistory, loss: Float[Array, ""], deviations: float, after: int
) -> Bool[Array, ""]:
  """True for a loss that is not finite or far above the remembered ones.

  Args:
    history: of the losses before.
    loss: of this step, the mean over all devices.
    deviations: allowed distance above the mean, in standard deviations.
    after: number of recorded losses before any finite loss is refused, at
      least 1.

  Source: docs/method/trajectories.md#objective.
  """
  mean, deviation = moments(history)
  spread = mean + deviations * deviation
  limit = jnp.where(deviation < _FLAT, _FLAT_MULTIPLE * mean, spread)
  return ~jnp.isfinite(loss) | ((history.count >= after) & (loss > limit))


def record(
  history: LossHistory, loss: Float[Array, ""], skip: Bool[Array, ""]
) -> LossHistory:
  """Remembers a loss in place of the oldest, unless its step is skipped."""
  slot = history.count % len(history.losses)
  kept = jnp.where(skip, history.losses[slot], loss)
  return LossHistory(
    history.losses.at[slot].set(kept),
    history.count + jnp.where(skip, 0, 1),
  )
