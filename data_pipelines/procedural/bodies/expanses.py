"""Wide bodies: the ground, water with waves, and flat cards with holes."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from data_pipelines.procedural.bodies import primitives

_NEWTON = 5


@dataclasses.dataclass(frozen=True)
class Ground(primitives.Primitive):
  """A level plane, seen from above, up to `size` metres from its middle."""

  def hit(self, frame, origin, direction):
    """Returns t of rays from above, infinity where none."""
    origin, direction = self.to_local(frame, origin, direction)
    down = direction[1]
    with np.errstate(divide="ignore", invalid="ignore"):
      t = -origin[1] / down
      x, z = origin[0] + t * direction[0], origin[2] + t * direction[2]
      found = (down > 0) & (t > 0)
      found &= (np.abs(x) < self.size[0]) & (np.abs(z) < self.size[2])
    return np.where(found, t, np.inf)

  def local_normal(self, frame, point):
    """Returns normals that point up."""
    return np.broadcast_to([[0.0], [-1.0], [0.0]], point.shape)


@dataclasses.dataclass(frozen=True)
class Swell:
  """Waves that run over water; `K` of them.

  Attributes:
    vectors: radians per metre along x and z, [K 2].
    amplitudes: metres, [K].
    phases: radians at the start, [K].
    cycles: periods during the clip, [K].
    middle: where they are highest, x and z in metres.
    reach: metres from there at which they are half as high.
  """

  vectors: Float[np.ndarray, "K 2"]
  amplitudes: Float[np.ndarray, "K"]
  phases: Float[np.ndarray, "K"]
  cycles: Float[np.ndarray, "K"]
  middle: Float[np.ndarray, "2"]
  reach: float

  def lift(
    self, x: Float[np.ndarray, "N"], z: Float[np.ndarray, "N"], time: float
  ) -> tuple[Float[np.ndarray, "N"], ...]:
    """Returns the height along -y, and its slopes along x and z."""
    phase = self.vectors @ np.stack([x, z])
    phase += (self.phases - 2 * np.pi * self.cycles * time)[:, None]
    level = self.amplitudes @ np.sin(phase)
    slopes = (self.amplitudes[:, None] * self.vectors).T @ np.cos(phase)
    square = self.reach * self.reach
    x, z = x - self.middle[0], z - self.middle[1]
    fade = 1 / (1 + (x * x + z * z) / square)
    falling = -2 * fade * fade * level / square
    return fade * level, *(
      fade * slope + falling * place
      for slope, place in zip(slopes, (x, z), strict=True)
    )


@dataclasses.dataclass(frozen=True)
class Water(Ground):
  """A plane of water whose points rise and sink; `wave` is a `Swell`.

  Waves are so low, beside the height of the eye, that each ray meets the
  surface once.
  """

  def hit(self, frame, origin, direction):
    """Returns t where rays from above meet the waves."""
    t = super().hit(frame, origin, direction)
    seen = np.flatnonzero(np.isfinite(t))
    if not seen.size:
      return t
    origin, direction = self.to_local(frame, origin, direction[:, seen])
    origin = origin if origin.shape[1] == 1 else origin[:, seen]
    at, time = t[seen], self.time(frame)
    for _ in range(_NEWTON):
      point = origin + at * direction
      lift, along_x, along_z = self.wave.lift(point[0], point[2], time)
      slope = direction[1] + along_x * direction[0] + along_z * direction[2]
      at = at - (point[1] + lift) / slope
    t[seen] = np.where(at > 0, at, np.inf)
    return t

  def material_points(self, frame, local):
    """Returns the places at rest of points on the surface."""
    return local * [[1.0], [0.0], [1.0]]

  def local_normal(self, frame, point):
    """Returns unit normals of the waves."""
    _, x, z = self.wave.lift(point[0], point[2], self.time(frame))
    normal = np.stack([-x, -np.ones_like(x), -z])
    return normal / np.sqrt((normal * normal).sum(axis=0))

  def stage_points(self, frame, material):
    """Returns where points at rest are lifted to."""
    lift, _, _ = self.wave.lift(material[0], material[2], self.time(frame))
    local = np.stack([material[0], material[1] - lift, material[2]])
    return self.rotation[frame] @ local + self.translation[frame][:, None]


@dataclasses.dataclass(frozen=True)
class Card(primitives.Primitive):
  """A flat rectangle, z = 0 in local coordinates, that may have holes.

  Attributes:
    holes: rows from -y to y, columns from -x to x; None where there are none.
  """

  holes: Bool[np.ndarray, "R C"] | None = None

  def hit(self, frame, origin, direction):
    """Returns t where rays meet what is no hole, from either side."""
    origin, direction = self.to_local(frame, origin, direction)
    with np.errstate(divide="ignore", invalid="ignore"):
      t = -origin[2] / direction[2]
      u = 0.5 + 0.5 * (origin[0] + t * direction[0]) / self.size[0]
      v = 0.5 + 0.5 * (origin[1] + t * direction[1]) / self.size[1]
      found = (t > 0) & (u > 0) & (u < 1) & (v > 0) & (v < 1)
    if self.holes is not None:
      inside = np.flatnonzero(found)
      rows, columns = self.holes.shape
      row = (v[inside] * rows).astype(np.int32)
      column = (u[inside] * columns).astype(np.int32)
      found[inside[self.holes[row, column]]] = False
    return np.where(found, t, np.inf)

  def local_normal(self, frame, point):
    """Returns unit normals of the side that faces local +z."""
    normal = np.array([0.0, 0.0, 1.0])
    if self.stretch is not None:
      normal = np.linalg.inv(self.stretch[frame]).T @ normal
      normal = normal / np.linalg.norm(normal)
    return np.broadcast_to(normal[:, None], point.shape)
