"""Waving cloth: a height field over a rectangle, and rays against it.

The cloth's material point (u, v) lies at (u, v, h(u, v)) in local coordinates,
so its motion is along local z only. The height grows from the fixed edge.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural.bodies import shapes

_STEPS = 14
_REFINEMENTS = 5


@dataclasses.dataclass(frozen=True)
class Wave:
  """A travelling wave on a rectangle of cloth.

  Attributes:
    amplitude: metres, reached at the free edge.
    waves: number of wave lengths along the cloth.
    shear: phase in radians across the cloth.
    cycles: periods during the clip.
    phase: radians at the start of the clip.
    along: axis away from the fixed edge, 0 for u and 1 for v.
  """

  amplitude: float
  waves: float
  shear: float
  cycles: float
  phase: float
  along: int


def _terms(wave, uv, size, time):
  """Returns ramp, its slope, phase and the phase's slopes, along and across."""
  along, across = wave.along, 1 - wave.along
  length, breadth = 2 * size[along], 2 * size[across]
  ramp = (uv[along] + size[along]) / length
  phase = (
    2 * np.pi * (wave.waves * ramp - wave.cycles * time)
    + wave.shear * uv[across] / breadth
    + wave.phase
  )
  return (
    ramp,
    1 / length,
    phase,
    2 * np.pi * wave.waves / length,
    wave.shear / breadth,
  )


def height(
  wave: Wave,
  uv: tuple[Float[np.ndarray, "*N"], Float[np.ndarray, "*N"]],
  size: Float[np.ndarray, "3"],
  time: float,
) -> Float[np.ndarray, "*N"]:
  """Returns the cloth's height in metres at material points.

  Args:
    wave: the wave.
    uv: material coordinates in metres.
    size: half width, half height and the bound of the height.
    time: position within the clip, 0 to 1.
  """
  ramp, _, phase, _, _ = _terms(wave, uv, size, time)
  return wave.amplitude * ramp * np.sin(phase)


def normal(
  wave: Wave,
  uv: tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]],
  size: Float[np.ndarray, "3"],
  time: float,
) -> Float[np.ndarray, "3 N"]:
  """Returns unit normals of the side that faces local +z."""
  ramp, d_ramp, phase, d_along, d_across = _terms(wave, uv, size, time)
  sine, cosine = np.sin(phase), np.cos(phase)
  slope = [None, None]
  slope[wave.along] = wave.amplitude * (d_ramp * sine + ramp * d_along * cosine)
  slope[1 - wave.along] = wave.amplitude * ramp * d_across * cosine
  out = np.stack([-slope[0], -slope[1], np.ones_like(ramp)])
  return out / np.sqrt((out * out).sum(axis=0))


def hit(
  wave: Wave,
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
  time: float,
) -> Float[np.ndarray, "N"]:
  """Returns t of the first crossing of the cloth, infinity where none.

  The ray is marched through the cloth's bounding box; the first change of side
  is refined by Newton steps that are kept within the bracket.
  """
  enter, leave = shapes.slab_interval(origin, direction, size)
  enter = np.maximum(enter, 0.0)
  found = np.full(direction.shape[1], np.inf)
  inside = np.flatnonzero(enter < leave)
  if inside.size == 0:
    return found
  enter, leave, direction = enter[inside], leave[inside], direction[:, inside]
  if origin.shape[1] > 1:
    origin = origin[:, inside]

  def gap(t):
    u, v, w = (origin[i] + t * direction[i] for i in range(3))
    return w - height(wave, (u, v), size, time)

  share = np.linspace(0.0, 1.0, _STEPS + 1)[:, None]
  gaps = gap(enter + share * (leave - enter))  # [steps N]
  change = gaps[:-1] * gaps[1:] <= 0
  crossing = np.flatnonzero(change.any(axis=0))
  if crossing.size == 0:
    return found
  step = change[:, crossing].argmax(axis=0)
  enter, leave, direction = (
    enter[crossing],
    leave[crossing],
    direction[:, crossing],
  )
  if origin.shape[1] > 1:
    origin = origin[:, crossing]
  width = (leave - enter) / _STEPS
  low, high = enter + step * width, enter + (step + 1) * width
  gap_low = gaps[step, crossing]
  gap_high = gaps[step + 1, crossing]
  span = gap_low - gap_high
  t = low + width * gap_low / np.where(span == 0, 1.0, span)
  for _ in range(_REFINEMENTS):
    at = gap(t)
    same = at * gap_low > 0
    low, high = np.where(same, t, low), np.where(same, high, t)
    u, v = origin[0] + t * direction[0], origin[1] + t * direction[1]
    n = normal(wave, (u, v), size, time)
    slope = (n * direction).sum(axis=0) / n[2]
    move = t - at / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    t = np.where((move >= low) & (move <= high), move, 0.5 * (low + high))
  found[inside[crossing]] = t
  return found
