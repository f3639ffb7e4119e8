"""A surface: a picture laid over a body, its colour, pattern and gloss."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

from data_pipelines.procedural.bodies import primitives, shapes, textures
from data_pipelines.procedural.surfaces import images

_PLANES = ((2, 1), (0, 2), (0, 1))
"""Axes of columns and rows of the picture on faces across x, y and z."""
_LEAST = 0.08  # Weight of a projection that is left out.
_FLAT = {"cloth": 2, "card": 2, "ground": 1, "water": 1}
_FACED = ("box", "room")


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """What a body looks like; takes the place of `textures.Material`.

  Attributes:
    picture: its texture.
    colour: multiplies the picture's albedo, linear light, [3].
    tiles: pictures per metre; 0 lays one picture over a whole card.
    pattern: stripes, spots and the like in linear colours, which multiply.
    relief: strength of the picture's bumps.
    gloss: share of mirrored light at right angles.
    glow: share of the albedo that shines by itself.
    thin: share of the light that shines through from behind.
    shift: of the picture in tiles, [3].
  """

  picture: images.Picture
  colour: Float[np.ndarray, "3"]
  tiles: float
  pattern: textures.Material | None = None
  relief: float = 1.0
  gloss: float = 0.0
  glow: float = 0.0
  thin: float = 0.0
  shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Look:
  """Albedo [N 3], linear, and what bumps add to local normals, [3 N]."""

  albedo: Float32[np.ndarray, "N 3"]
  bump: Float32[np.ndarray, "3 N"]


def _rest_normal(item, material, normal):
  """Returns normals of the undeformed body, which the projections follow."""
  if item.shape == "blob":
    return material / item.size[0]
  if item.stretch is None:
    return normal
  return shapes.NORMAL[item.shape](material, item.size)


def _projected(surface, point, axis, footprint):
  """Samples the picture on the plane across an axis."""
  column, row = _PLANES[axis]
  return images.sample(
    surface.picture,
    point[column] * surface.tiles + surface.shift[column],
    point[row] * surface.tiles + surface.shift[row],
    footprint * surface.tiles,
  )


def _bumps(samples, axis, relief):
  bump = np.zeros((3, len(samples)), np.float32)
  column, row = _PLANES[axis]
  bump[column], bump[row] = -relief * samples[:, 3], -relief * samples[:, 4]
  return bump


def look(
  surface: Surface,
  item: primitives.Primitive,
  material: Float[np.ndarray, "3 N"],
  normal: Float[np.ndarray, "3 N"],
  footprint: Float[np.ndarray, "N"],
) -> Look:
  """Returns what a body's surface looks like at material points.

  Args:
    surface: of the body.
    item: the body.
    material: its material points, metres.
    normal: local normals there.
    footprint: width of a pixel there, metres.
  """
  if surface.tiles == 0:
    u = 0.5 + 0.5 * material[0] / item.size[0]
    v = 0.5 + 0.5 * material[1] / item.size[1]
    share = footprint / (2 * item.size[0])
    samples = images.sample(surface.picture, u, v, share)
    bump = _bumps(samples, 2, surface.relief)
  elif item.shape in _FLAT:
    axis = _FLAT[item.shape]
    samples = _projected(surface, material, axis, footprint)
    bump = _bumps(samples, axis, surface.relief)
  else:
    samples, bump = _blended(surface, item, material, normal, footprint)
  albedo = samples[:, :3] * surface.colour.astype(np.float32)
  if surface.pattern is not None:
    albedo *= textures.albedo(surface.pattern, material).T
  return Look(albedo, bump)


def _faces(normal):
  """Returns weights of three projections: the axis across each flat face."""
  return (np.abs(normal) > 0.7).astype(np.float32)


def _weights(normal):
  """Returns weights of three projections of a round body, which sum to 1."""
  weights = normal * normal
  weights *= weights
  weights *= weights > _LEAST * (weights[0] + weights[1] + weights[2])
  return weights / (weights[0] + weights[1] + weights[2])


def _blended(surface, item, material, normal, footprint):
  """Blends the projections along three axes by the normal."""
  rest = _rest_normal(item, material, normal).astype(np.float32)
  weights = _faces(rest) if item.shape in _FACED else _weights(rest)
  samples = np.zeros((material.shape[1], images.CHANNELS), np.float32)
  bump = np.zeros(material.shape, np.float32)
  for axis in range(3):
    pixels = np.flatnonzero(weights[axis])
    if not pixels.size:
      continue
    if pixels.size == len(samples):
      part = _projected(surface, material, axis, footprint)
    else:
      part = _projected(surface, material[:, pixels], axis, footprint[pixels])
    part *= weights[axis, pixels, None]
    samples[pixels] += part
    column, row = _PLANES[axis]
    bump[column, pixels] -= surface.relief * part[:, 3]
    bump[row, pixels] -= surface.relief * part[:, 4]
  return samples, bump
