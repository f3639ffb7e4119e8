"""Blobs: star-shaped bodies with travelling bumps, and rays against them.

A blob's material point is a direction n; it lies at distance
radius * (1 + sum_k a_k sin(m_k n . d_k + phase_k(t))) from the centre, so it
moves along n only.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

_STEPS = 20
_REFINEMENTS = 6


@dataclasses.dataclass(frozen=True)
class Bumps:
  """Travelling bumps on a sphere; `K` waves.

  Attributes:
    directions: unit vectors along which the waves run, [K 3].
    amplitudes: shares of the radius, [K].
    waves: radians from the centre to the pole, [K].
    phases: radians at the start of the clip, [K].
    cycles: periods during the clip, [K].
  """

  directions: Float[np.ndarray, "K 3"]
  amplitudes: Float[np.ndarray, "K"]
  waves: Float[np.ndarray, "K"]
  phases: Float[np.ndarray, "K"]
  cycles: Float[np.ndarray, "K"]

  @property
  def largest(self) -> float:
    """Returns a bound of the radius as a multiple of the mean one."""
    return 1.0 + float(np.abs(self.amplitudes).sum())


def _phase(bumps, along, time):
  """Returns every wave's phase at unit vectors, [K N]."""
  shift = bumps.phases - 2 * np.pi * bumps.cycles * time
  return bumps.waves[:, None] * along + shift[:, None]


def _split(point):
  """Returns distance from the centre [N] and direction [3 N]."""
  distance = np.sqrt((point * point).sum(axis=0))
  return distance, point / np.maximum(distance, 1e-12)


def _gap(bumps, point, size, time):
  """Returns how far points lie outside the surface along their direction."""
  distance, unit = _split(point)
  phase = _phase(bumps, bumps.directions @ unit, time)
  return distance - size[0] * (1 + bumps.amplitudes @ np.sin(phase))


def _gradient(bumps, point, size, time):
  """Returns the gradient of `_gap`, [3 N]."""
  distance, unit = _split(point)
  along = bumps.directions @ unit  # [K N]
  slope = (bumps.amplitudes * bumps.waves)[:, None] * np.cos(
    _phase(bumps, along, time)
  )
  turned = bumps.directions.T @ slope - unit * (slope * along).sum(axis=0)
  return unit - size[0] * turned / np.maximum(distance, 1e-12)


def surface(
  bumps: Bumps,
  material: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
  time: float,
) -> Float[np.ndarray, "3 N"]:
  """Returns where material points are.

  Args:
    bumps: the waves.
    material: points in the wanted directions, at any distance but 0.
    size: mean radius, largest radius, unused; metres.
    time: position within the clip, 0 to 1.
  """
  _, unit = _split(material)
  phase = _phase(bumps, bumps.directions @ unit, time)
  return unit * (size[0] * (1 + bumps.amplitudes @ np.sin(phase)))


def normal(
  bumps: Bumps,
  point: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
  time: float,
) -> Float[np.ndarray, "3 N"]:
  """Returns unit outward normals at points of the surface."""
  gradient = _gradient(bumps, point, size, time)
  return gradient / np.sqrt((gradient * gradient).sum(axis=0))


def hit(
  bumps: Bumps,
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
  time: float,
) -> Float[np.ndarray, "N"]:
  """Returns t of the first entry, infinity where none.

  The ray is marched through the ball of the largest radius; the first step
  from outside to inside is refined by Newton steps kept within the bracket.
  """
  a = (direction * direction).sum(axis=0)
  b = (origin * direction).sum(axis=0)
  c = (origin * origin).sum(axis=0) - size[1] * size[1]
  discriminant = b * b - a * c
  root = np.sqrt(np.maximum(discriminant, 0.0))
  found = np.full(direction.shape[1], np.inf)
  inside = np.flatnonzero((discriminant > 0) & (root - b > 0))
  if inside.size == 0:
    return found
  enter = np.maximum((-b - root) / a, 0.0)[inside]
  leave = ((-b + root) / a)[inside]
  origin = origin if origin.shape[1] == 1 else origin[:, inside]
  direction = direction[:, inside]
  step = (leave - enter) / _STEPS
  low = np.full(inside.size, np.inf)
  before = _gap(bumps, origin + enter * direction, size, time)
  for number in range(1, _STEPS + 1):
    after = _gap(
      bumps, origin + (enter + number * step) * direction, size, time
    )
    first = (before > 0) & (after <= 0) & np.isinf(low)
    low[first] = (enter + (number - 1) * step)[first]
    before = after
  crossing = np.flatnonzero(np.isfinite(low))
  origin = origin if origin.shape[1] == 1 else origin[:, crossing]
  bracket = (low[crossing], (low + step)[crossing])
  ray = (origin, direction[:, crossing])
  found[inside[crossing]] = _refine(bumps, ray, bracket, size, time)
  return found


def _refine(bumps, ray, bracket, size, time):
  """Returns the root between two parameters, outside at the first one."""
  (origin, direction), (low, high) = ray, bracket
  t = 0.5 * (low + high)
  for _ in range(_REFINEMENTS):
    point = origin + t * direction
    gap = _gap(bumps, point, size, time)
    low, high = np.where(gap > 0, t, low), np.where(gap > 0, high, t)
    slope = (_gradient(bumps, point, size, time) * direction).sum(axis=0)
    move = t - gap / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    t = np.where((move >= low) & (move <= high), move, 0.5 * (low + high))
  return t
