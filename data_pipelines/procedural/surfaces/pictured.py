"""Pictures with colours of their own: facades, books, paintings, clouds."""

import numpy as np

from data_pipelines.procedural.surfaces import (
  colours,
  cutouts,
  fields,
  images,
)

_S = images.SIZE


def facade(rng):
  """Three floors of windows in a wall; every pane mirrors something else."""
  floors, bays = 4, 4
  y, x = np.mgrid[:_S, :_S] / _S
  floor, bay = np.floor(y * floors).astype(int), np.floor(x * bays).astype(int)
  v, u = y * floors - floor, x * bays - bay
  wide = rng.uniform(0.26, 0.4)
  low, high = rng.uniform(0.16, 0.25), rng.uniform(0.72, 0.86)
  across = np.abs(u - 0.5)
  window = (across < wide) & (v > low) & (v < high)
  frame = window & (
    (across > wide - 0.03)
    | (across < 0.012)
    | (v < low + 0.03)
    | (v > high - 0.03)
    | (np.abs(v - low - 0.3 * (high - low)) < 0.014)
  )
  sill = (v >= high) & (v < high + 0.05) & (across < wide + 0.05)
  stains = fields.fractal(rng, _S, 1.4)
  grain = fields.fractal(rng, _S, 0.6)
  wall = colours.any_of(rng, "plaster", "brick", "concrete", "sand")
  albedo = wall * np.exp(0.1 * stains + 0.06 * grain)[..., None]
  panes = np.exp(rng.normal(-2.6, 0.6, (floors, bays)))
  mirror = panes[floor % floors, bay % bays] * np.exp(
    0.5 * fields.fractal(rng, _S, 1.6) - 1.2 * v
  )
  curtain = (rng.random((floors, bays)) < 0.35)[floor % floors, bay % bays]
  curtain = curtain & (across > 0.4 * wide)
  glass = np.clip(mirror, 0, 0.5)[..., None] * np.array([0.85, 0.97, 1.1])
  albedo[window] = glass[window]
  albedo[window & curtain] = (
    0.3
    * np.exp(0.2 * grain[window & curtain])[:, None]
    * np.array([1.0, 0.95, 0.85])
  )
  trim = colours.any_of(rng, "plaster", "wood", "metal")
  albedo[frame], albedo[sill] = trim, 0.8 * trim
  # What lies deep is darker below its lintel.
  shade = window & (v < low + 0.09)
  albedo[shade] *= 0.5
  height = 0.4 * grain - 3.0 * window + 2.0 * frame + 2.0 * sill
  return albedo.astype(np.float32), height


def books(rng):
  """Shelves of books."""
  albedo = np.zeros((_S, _S, 3))
  height = np.zeros((_S, _S))
  rows, column = 4, 0
  wood = colours.natural(rng, "wood")
  for row in range(rows):
    top, column = row * _S // rows, 0
    while column < _S:
      width = int(rng.integers(4, 13))
      tall = int(_S / rows * rng.uniform(0.62, 0.88))
      colour = colours.of_photographs(rng, (12, 80))
      place = (
        slice(top + _S // rows - tall, top + _S // rows),
        slice(column, column + width),
      )
      span = albedo[place].shape[1]
      bulge = np.sin(np.pi * (np.arange(span) + 0.5) / span)
      albedo[place] = colour * (0.45 + 0.55 * bulge)[None, :, None]
      band = albedo[place][tall // 5 : tall // 5 + 4]
      band[:] = colours.of_photographs(rng, (40, 90))
      height[place] = 2 * bulge
      column += width
    albedo[top : top + 5] = wood
  albedo *= np.exp(0.12 * fields.fractal(rng, _S, 1.0))[..., None]
  return np.maximum(albedo, 0.012).astype(np.float32), height


def painting(rng):
  """A composition of shapes in colours that go together."""
  shapes = fields.dead_leaves(rng, _S, 160, (6.0, 90.0), rng.uniform(1, 2.5))
  palette = np.stack([colours.of_photographs(rng, (10, 92)) for _ in range(6)])
  albedo = palette[rng.integers(0, 6, 161)][shapes.label]
  strokes = fields.flowing(rng, _S, 2 * fields.fractal(rng, _S, 1.8), 18)
  wide = fields.fractal(rng, _S, 1.2)
  albedo = albedo * np.exp(0.12 * strokes + 0.25 * wide)[..., None]
  return np.clip(albedo, 0.01, 0.95).astype(np.float32), 0.3 * strokes


def view(rng):
  """What a window shows: a wood below the sky."""
  wood, height, holes = cutouts.treeline(rng)
  row = np.arange(_S)[:, None, None] / _S
  sky = np.array([0.75, 0.9, 1.1]) * (0.75 + 0.5 * row)
  cloud = np.clip(0.3 * fields.fractal(rng, _S, 1.5, (1.0, 2.0)), -0.15, 0.4)
  green = colours.any_of(rng, "foliage", "foliage", "grass")
  albedo = np.where(holes[..., None], sky + cloud[..., None], wood * green)
  return albedo.astype(np.float32), np.zeros_like(height)


def clouds(rng):
  """Density of clouds in the first channel, their shade in the second."""
  wide = fields.fractal(rng, _S, 1.45, (1.0, rng.uniform(1.0, 2.2)))
  density = np.repeat(wide[..., None], 3, axis=-1)
  density[..., 1] = np.roll(wide, (5, 3), axis=(0, 1)) - wide
  return density.astype(np.float32), np.zeros((_S, _S))
