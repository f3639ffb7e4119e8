"""How far a mean over scenes may be off: bootstrap over scenes."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float

_RESAMPLES = 2000
_LEVEL = 0.95
# (name, error, reference): a quotient of two means.
Quotients = Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Measured:
  """What a split of scenes gives.

  Attributes:
    figures: means over scenes.
    intervals: where 95 % of the means of scenes drawn again lie; of figures
      that two scenes or more have.
  """

  figures: Mapping[str, float]
  intervals: Mapping[str, tuple[float, float]]


def measured(
  rows: Sequence[Mapping[str, float]], quotients: Quotients = ()
) -> Measured:
  """Means of what scenes contribute, and quotients of means.

  Args:
    rows: figures of each scene; a scene without a figure does not count in it.
    quotients: so that scenes with a small reference do not rule.
  """
  names = dict.fromkeys(name for row in rows for name in row)
  means = {
    name: float(np.mean([row[name] for row in rows if name in row]))
    for name in names
  }
  figures = {"scenes": float(len(rows)), **means}
  for name, error, reference in quotients:
    if reference in means:
      figures[name] = means[error] / means[reference]
  return Measured(figures, of_rows(rows, quotients))


def mean_interval(values: Float[np.ndarray, "N"]) -> tuple[float, float]:
  """Where 95 % of the means of scenes drawn again lie.

  Args:
    values: one for each scene, at least two.
  """
  return _interval((values,), lambda x, axis: x.mean(axis=axis))


def quotient_interval(
  errors: Float[np.ndarray, "N"], references: Float[np.ndarray, "N"]
) -> tuple[float, float]:
  """The same of a quotient of means; both are of the same scenes."""
  return _interval(
    (errors, references), lambda a, b, axis: a.mean(axis) / b.mean(axis)
  )


def of_rows(
  rows: Sequence[Mapping[str, float]],
  quotients: Quotients,
) -> dict[str, tuple[float, float]]:
  """Intervals of the means of what scenes contribute, and of quotients.

  Args:
    rows: figures of each scene; a scene without a figure does not count in it.
    quotients: of means of the same scenes.

  Returns: of every figure that two scenes or more have.
  """
  names = dict.fromkeys(name for row in rows for name in row)
  found = {}
  for name in names:
    values = np.array([row[name] for row in rows if name in row])
    if len(values) > 1:
      found[name] = mean_interval(values)
  for name, error, reference in quotients:
    pairs = [
      (row[error], row[reference])
      for row in rows
      if error in row and reference in row
    ]
    if len(pairs) > 1:
      found[name] = quotient_interval(*np.array(pairs).T)
  return found


def _interval(samples, statistic) -> tuple[float, float]:
  """Percentiles of the statistic, scenes drawn with replacement, seed 0."""
  result = scipy.stats.bootstrap(
    samples,
    statistic,
    n_resamples=_RESAMPLES,
    confidence_level=_LEVEL,
    method="percentile",
    paired=len(samples) > 1,
    vectorized=True,
    rng=np.random.default_rng(0),
  ).confidence_interval
  return float(result.low), float(result.high)
