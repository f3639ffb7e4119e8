"""Solid textures: albedo as a function of a material point."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

PATTERNS = ("plain", "striped", "checkered", "spotted")

# Saturated colours by name; the room keeps to muted ones.
PALETTE = {
  "red": (0.86, 0.12, 0.12),
  "orange": (0.97, 0.52, 0.08),
  "yellow": (0.97, 0.86, 0.14),
  "green": (0.14, 0.66, 0.22),
  "blue": (0.12, 0.28, 0.88),
  "purple": (0.52, 0.16, 0.72),
  "pink": (0.98, 0.48, 0.68),
  "cyan": (0.10, 0.76, 0.84),
  "white": (0.95, 0.95, 0.95),
  "brown": (0.46, 0.27, 0.13),
}

# Names that version 2 of the scenes adds; version 1 keeps drawing from the
# lists above.
COLOURS = PALETTE | {"grey": (0.5, 0.5, 0.5), "black": (0.07, 0.07, 0.08)}
MORE_PATTERNS = (*PATTERNS, "wavy", "ringed", "marbled")


@dataclasses.dataclass(frozen=True)
class Material:
  """A two-colour pattern.

  Attributes:
    pattern: one of `MORE_PATTERNS`, or "noise", "bricked" (rows
      along y), "paved" (rows along z), or "spoked": spokes
      about the y axis, as many as the first frequency says, within a rim at
      the radius that the second frequency is the inverse of.
    colours: the two albedos, [2 3] in [0, 1].
    frequency: repeats per metre along each local axis, [3].
    phase: radians, [3].
    sharpness: how abruptly the colours change; 1 is a soft sine.
    glow: share of the albedo that is shown without lighting (a sky).
  """

  pattern: str
  colours: Float[np.ndarray, "2 3"]
  frequency: Float[np.ndarray, "3"]
  phase: Float[np.ndarray, "3"]
  sharpness: float = 4.0
  glow: float = 0.0


def _blend(material: Material, point: Float[np.ndarray, "3 N"]):
  """Returns the share of the second colour at each point, [N] in [0, 1]."""
  angle = 2 * np.pi * material.frequency[:, None] * point
  angle += material.phase[:, None]
  if material.pattern == "striped":
    value = np.sin(angle.sum(axis=0))
  elif material.pattern == "checkered":
    active = material.frequency > 0
    value = np.sin(angle[active]).prod(axis=0)
  elif material.pattern == "spotted":
    active = material.frequency > 0
    value = np.cos(angle[active]).sum(axis=0) - 0.45 * active.sum()
  elif material.pattern == "spoked":
    value = _spokes(material, point)
  elif material.pattern == "bricked":
    value = _mortar(angle[0] + angle[2], angle[1])
  elif material.pattern == "paved":
    value = _mortar(angle[0], angle[2])
  elif material.pattern == "wavy":
    value = np.sin(angle[1] + 1.3 * np.sin(0.8 * angle[0] + 0.5 * angle[2]))
  elif material.pattern == "ringed":
    value = np.sin(2 * np.hypot(angle[0], angle[2]))
  elif material.pattern == "marbled":
    x, y, z = angle
    swirl = np.sin(0.9 * y + 1.5 * np.sin(0.7 * z)) + np.sin(0.8 * z + x)
    value = np.sin(x + 2.0 * swirl)
  else:
    x, y, z = angle
    value = np.sin(x + 1.7 * np.sin(0.6 * z + y)) * np.sin(1.3 * z - 0.7 * x)
    value += 0.5 * np.sin(2.9 * (x + y) + np.sin(2.3 * z))
  return np.clip(0.5 + 0.5 * material.sharpness * value, 0.0, 1.0)


def _spokes(material, point):
  """Returns a positive value on spokes, hub and rim of a wheel."""
  count, inverse_radius, _ = material.frequency
  radius = np.hypot(point[0], point[2]) * inverse_radius
  turn = np.arctan2(point[2], point[0])
  spokes = np.cos(count * turn + material.phase[0]) - 0.55
  return np.maximum(
    spokes, np.maximum(5 * (radius - 0.76), 5 * (0.24 - radius))
  )


def _mortar(along, row):
  """Returns a positive value between bricks; phases turn once per brick."""
  along, row = along / (2 * np.pi), row / (2 * np.pi)
  along = along + 0.5 * np.mod(np.floor(row), 2)
  edge = np.minimum(
    0.5 - np.abs(np.mod(row, 1) - 0.5),
    2 * (0.5 - np.abs(np.mod(along, 1) - 0.5)),
  )
  return 4 * (0.1 - edge)


def flat(colour) -> Material:
  """Returns a plain surface of one albedo, [3] in [0, 1]."""
  colours = np.tile(np.asarray(colour, np.float64), (2, 1))
  return Material("plain", colours, np.ones(3), np.zeros(3))


def albedo(
  material: Material, point: Float[np.ndarray, "3 N"]
) -> Float32[np.ndarray, "3 N"]:
  """Returns the surface colour at material points.

  Args:
    material: the pattern.
    point: local coordinates in metres.
  """
  first, second = material.colours.astype(np.float32)
  if material.pattern == "plain":
    return np.broadcast_to(first[:, None], (3, point.shape[1]))
  share = _blend(material, point).astype(np.float32)
  return first[:, None] + (second - first)[:, None] * share
