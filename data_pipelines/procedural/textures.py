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


@dataclasses.dataclass(frozen=True)
class Material:
  """A two-colour pattern.

  Attributes:
    pattern: "plain", "striped", "checkered", "spotted" or "noise".
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
  else:
    x, y, z = angle
    value = np.sin(x + 1.7 * np.sin(0.6 * z + y)) * np.sin(1.3 * z - 0.7 * x)
    value += 0.5 * np.sin(2.9 * (x + y) + np.sin(2.3 * z))
  return np.clip(0.5 + 0.5 * material.sharpness * value, 0.0, 1.0)


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
