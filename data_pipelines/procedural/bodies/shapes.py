"""Ray intersections and normals of the analytic shapes, in local coordinates.

Rays are structures of arrays: origin [3 N] or [3 1], direction [3 N]. The
direction need not be a unit vector; a returned parameter t counts directions.
Every shape is centred at the origin; `size` means:
  ellipsoid: the three radii; box: the three half edges;
  capsule: (radius, half length of the axis, unused), axis along y;
  cylinder: (radius, half length, unused), axis along y, flat ends;
  room: the three half edges of a box that is seen from inside.
"""

import itertools

import numpy as np
from jaxtyping import Float

_TINY = 1e-12


def hit_ellipsoid(
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "N"]:
  """Returns t of the first entry into an ellipsoid, infinity where none."""
  q, e = origin / size[:, None], direction / size[:, None]
  a = e[0] * e[0] + e[1] * e[1] + e[2] * e[2]
  b = q[0] * e[0] + q[1] * e[1] + q[2] * e[2]
  c = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] - 1.0
  discriminant = b * b - a * c
  t = (-b - np.sqrt(np.maximum(discriminant, 0.0))) / a
  return np.where((discriminant > 0) & (t > 0), t, np.inf)


def slab_interval(
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
  """Returns t where the line enters and where it leaves a box."""
  near_zero = np.abs(direction) < _TINY
  inverse = 1.0 / np.where(near_zero, _TINY, direction)
  middle, reach = -origin * inverse, size[:, None] * np.abs(inverse)
  return (middle - reach).max(axis=0), (middle + reach).min(axis=0)


def hit_box(
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "N"]:
  """Returns t of the first entry into a box, infinity where none."""
  enter, leave = slab_interval(origin, direction, size)
  return np.where((enter < leave) & (enter > 0), enter, np.inf)


def hit_room(
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "N"]:
  """Returns t where a ray that starts inside a box leaves it."""
  _, leave = slab_interval(origin, direction, size)
  return np.where(leave > 0, leave, np.inf)


def hit_capsule(
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "N"]:
  """Returns t of the first entry into a capsule, infinity where none.

  A ray enters the capsule only where it meets the endless cylinder around the
  axis; where that point lies beyond an end, the entry is that end's sphere.
  """
  radius, half = size[0], size[1]
  ox, oy, oz = origin
  dx, dy, dz = direction
  a = np.maximum(dx * dx + dz * dz, _TINY)
  b = ox * dx + oz * dz
  c = ox * ox + oz * oz - radius * radius
  discriminant = b * b - a * c
  t = (-b - np.sqrt(np.maximum(discriminant, 0.0))) / a
  y = oy + t * dy
  beyond = np.abs(y) > half
  rel = oy - np.copysign(half, y)
  a, b = a + dy * dy, b + rel * dy
  cap = b * b - a * (c + rel * rel)
  t_cap = (-b - np.sqrt(np.maximum(cap, 0.0))) / a
  t = np.where(beyond, t_cap, t)
  valid = (discriminant > 0) & (t > 0) & (~beyond | (cap > 0))
  return np.where(valid, t, np.inf)


def hit_cylinder(
  origin: Float[np.ndarray, "3 #N"],
  direction: Float[np.ndarray, "3 N"],
  size: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "N"]:
  """Returns t of the first entry into a cylinder, infinity where none.

  A ray is inside while it is both between the end planes and within the
  endless cylinder.
  """
  radius, half = size[0], size[1]
  ox, oy, oz = origin
  dx, dy, dz = direction
  a = np.maximum(dx * dx + dz * dz, _TINY)
  b = ox * dx + oz * dz
  c = ox * ox + oz * oz - radius * radius
  discriminant = b * b - a * c
  root = np.sqrt(np.maximum(discriminant, 0.0))
  inverse = 1.0 / np.where(np.abs(dy) < _TINY, _TINY, dy)
  middle, reach = -oy * inverse, half * np.abs(inverse)
  enter = np.maximum((-b - root) / a, middle - reach)
  leave = np.minimum((-b + root) / a, middle + reach)
  valid = (discriminant > 0) & (enter < leave) & (enter > 0)
  return np.where(valid, enter, np.inf)


def normal_ellipsoid(
  point: Float[np.ndarray, "3 N"], size: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 N"]:
  """Returns unit outward normals at points on an ellipsoid."""
  gradient = point / (size * size)[:, None]
  return gradient / np.sqrt((gradient * gradient).sum(axis=0))


def normal_box(
  point: Float[np.ndarray, "3 N"], size: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 N"]:
  """Returns unit outward normals at points on a box."""
  gap = np.abs(np.abs(point) - size[:, None])
  face = gap.argmin(axis=0)
  columns = np.arange(point.shape[1])
  normal = np.zeros_like(point)
  normal[face, columns] = np.sign(point[face, columns])
  return normal


def normal_room(
  point: Float[np.ndarray, "3 N"], size: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 N"]:
  """Returns unit normals into a room at points on its walls."""
  return -normal_box(point, size)


def normal_capsule(
  point: Float[np.ndarray, "3 N"], size: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 N"]:
  """Returns unit outward normals at points on a capsule."""
  away = point.copy()
  away[1] -= np.clip(point[1], -size[1], size[1])
  return away / size[0]


def normal_cylinder(
  point: Float[np.ndarray, "3 N"], size: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 N"]:
  """Returns unit outward normals at points on a cylinder."""
  across = np.hypot(point[0], point[2])
  on_end = np.abs(np.abs(point[1]) - size[1]) < np.abs(across - size[0])
  radial = point / np.maximum(across, _TINY)
  radial[1] = 0.0
  ends = np.zeros_like(point)
  ends[1] = np.sign(point[1])
  return np.where(on_end, ends, radial)


def bounds(
  shape: str, size: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "K 3"], float]:
  """Returns points and a radius whose convex hull of balls holds the shape."""
  if shape == "ellipsoid":
    return np.zeros((1, 3)), float(size.max())
  if shape == "capsule":
    half = size[1]
    return np.array([[0.0, -half, 0.0], [0.0, half, 0.0]]), float(size[0])
  if shape == "cylinder":
    return np.zeros((1, 3)), float(np.hypot(size[0], size[1]))
  corners = itertools.product((-1.0, 1.0), repeat=3)
  return np.array(list(corners)) * size, 0.0


HIT = {
  "ellipsoid": hit_ellipsoid,
  "box": hit_box,
  "capsule": hit_capsule,
  "cylinder": hit_cylinder,
  "room": hit_room,
}
NORMAL = {
  "ellipsoid": normal_ellipsoid,
  "box": normal_box,
  "capsule": normal_capsule,
  "cylinder": normal_cylinder,
  "room": normal_room,
}
