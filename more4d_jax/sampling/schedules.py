"""Noise levels of a sampler and the coefficients of its steps.

Everything here is computed on the host in float64, before anything is traced:
a multistep solver of the probability flow is linear in the latents and in the
network's predictions of clean data, so that a table of numbers says it all.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

SAMPLERS = ("euler", "unipc", "dpm++")
SCHEDULES = ("shifted", "compat")
TRAIN_LEVELS = 1000  # Noise levels the published networks were trained on.


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
  """Noise levels of n steps, and the steps between them.

  Attributes:
    sigmas: decreasing noise levels, one more than there are steps.
    timesteps: what the network is told at each step.
    corrector: what the latents at each level are replaced by before the step:
      weights of [the latents as predicted, the corrected latents one level
      before, the data predicted two levels before, one level before, and
      here].
    predictor: what the step leads to: weights of [the corrected latents, the
      data predicted one level before, and here].
  """

  sigmas: Float[np.ndarray, "m"]
  timesteps: Float[np.ndarray, "n"]
  corrector: Float[np.ndarray, "n 5"]
  predictor: Float[np.ndarray, "n 3"]


def shifted(
  plain: Float[np.ndarray, "n"], shift: float
) -> Float[np.ndarray, "n"]:
  """S_m(s) = m s / (1 + (m - 1) s) in float64; m is the shift."""
  plain = np.asarray(plain, np.float64)
  return shift * plain / (1 + (shift - 1) * plain)


def noise_levels(
  sampler: str, num_steps: int, shift: float, schedule: str = "shifted"
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "n"]]:
  """Noise levels and timesteps.

  Args:
    sampler: one of `SAMPLERS`.
    num_steps: n, at least 1.
    shift: m of S_m, see `shifted`.
    schedule: "shifted" applies the shift once to n + 1 even levels from 1 to
      0, whatever the sampler, and tells the network 1000 sigma. "compat" is
      the original's: Euler's grid ends at S_m(0.001) and is then shifted
      (again); UniPC's starts at 0.999; UniPC and DPM-Solver++ tell the network
      the integer part of 1000 sigma.

  Returns: sigmas [n + 1], the last 0, and timesteps [n], float64.

  Raises:
    ValueError: if a name is unknown or there is no step.
  Source: docs/method/flow_matching.md#schedules.
  """
  for name, found, allowed in (
    ("sampler", sampler, SAMPLERS),
    ("schedule", schedule, SCHEDULES),
  ):
    if found not in allowed:
      raise ValueError(
        f"expected a {name} of {', '.join(allowed)}, found {found!r}"
      )
  if num_steps < 1:
    raise ValueError(f"a sampler needs at least 1 step, found {num_steps}")
  start, whole = 1.0, False
  if schedule == "compat":
    # As the original keeps it: its rounding decides some integer parts.
    first = float(np.float32(1 - 1 / TRAIN_LEVELS))
    start = first if sampler == "unipc" else 1.0
    whole = sampler != "euler"
  plain = np.linspace(start, 0.0, num_steps + 1)[:-1]
  if schedule == "compat" and sampler == "euler":
    end = float(shifted(np.array([1 / TRAIN_LEVELS]), shift)[0])
    plain = np.linspace(1.0, end, num_steps)
  levels = shifted(plain, shift)
  timesteps = TRAIN_LEVELS * levels
  if whole:  # 1000 * 0.3 is 299.99...: the original's rounding, kept.
    timesteps = np.floor(timesteps)
  return np.append(levels, 0.0), timesteps


def make_schedule(
  sampler: str,
  sigmas: Float[np.ndarray, "m"],
  timesteps: Float[np.ndarray, "n"],
) -> Schedule:
  """Tabulates a sampler's steps between given noise levels.

  Euler is the solver of first order. DPM-Solver++ (2M, midpoint) is of second
  order but in its first and its last step. UniPC (order 2, bh2) predicts the
  same way and corrects the result once the network has seen it.

  Args:
    sampler: one of `SAMPLERS`.
    sigmas: decreasing; the first may be 1, the last 0.
    timesteps: one for each step.

  Source: docs/method/flow_matching.md#schedules.
  """
  sigmas = np.asarray(sigmas, np.float64)
  count = len(sigmas) - 1
  orders = [
    1 if sampler == "euler" else min(2, k + 1, count - k) for k in range(count)
  ]
  predictor = [_predictor(sigmas, k, orders[k]) for k in range(count)]
  corrector = [(1.0, 0.0, 0.0, 0.0, 0.0)] * count
  if sampler == "unipc":
    corrector[1:] = [
      _corrector(sigmas, k, orders[k - 1]) for k in range(1, count)
    ]
  return Schedule(
    sigmas,
    np.asarray(timesteps, np.float64),
    np.asarray(corrector, np.float64),
    np.asarray(predictor, np.float64),
  )


def _log_ratio(sigma: float) -> float:
  """Lambda = log(alpha / sigma); infinite at both ends."""
  if sigma in (0.0, 1.0):
    return np.inf if sigma == 0.0 else -np.inf
  return float(np.log((1 - sigma) / sigma))


def _predictor(
  sigmas: Float[np.ndarray, "m"], k: int, order: int
) -> tuple[float, float, float]:
  """Weights of the latents, the earlier data and the data, for step k.

  Where lambda is infinite the limit is taken: at sigma 1 an earlier slope
  counts nothing, because lambda was infinitely far away.
  """
  now, after = sigmas[k], sigmas[k + 1]
  width = _log_ratio(after) - _log_ratio(now)
  change = (1 - after) * np.expm1(-width)
  earlier = 0.0
  if order == 2:
    before = (_log_ratio(sigmas[k - 1]) - _log_ratio(now)) / width
    earlier = -0.5 * change / before
  return after / now, earlier, -change - earlier


def _corrector(
  sigmas: Float[np.ndarray, "m"], k: int, order: int
) -> tuple[float, float, float, float, float]:
  """Weights at level k, after a predictor of the given order led there."""
  before, now = sigmas[k - 1], sigmas[k]
  width = _log_ratio(now) - _log_ratio(before)
  factor = np.expm1(-width)
  change = (1 - now) * factor
  here, two_before = 0.5, 0.0
  if order == 2:
    first = (factor / -width - 1) / factor
    second = 2 * ((factor / -width - 1) / -width - 0.5) / factor
    ratio = (_log_ratio(sigmas[k - 2]) - _log_ratio(before)) / width
    slope = (second - first) / (ratio - 1)
    here, two_before = first - slope, slope / ratio
  return (
    0.0,
    now / before,
    -change * two_before,
    -change * (1 - here - two_before),
    -change * here,
  )
