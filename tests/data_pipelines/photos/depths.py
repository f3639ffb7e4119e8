"""Depth functions for tests, as a user would write them."""

import numpy as np


def standing(pixels):
  """A thing of 2 m in the middle before ground and a wall of 6 m."""
  height, width = pixels.shape[:2]
  rows, columns = np.mgrid[:height, :width]
  x, y = (columns + 0.5) / width - 0.5, (rows + 0.5) / height - 0.5
  wall = np.minimum(6.0, 2.6 / np.maximum(y + 0.1, 1e-6))
  thing = (x / 0.22) ** 2 + ((y - 0.05) / 0.3) ** 2 < 1
  return np.where(thing, 2.0 + 0.3 * x, wall)


def flat(pixels):
  """A wall."""
  return np.full(pixels.shape[:2], 3.0)


def of_another_size(pixels):
  """Half the resolution, and unknown in the upper third."""
  depth = standing(pixels)[::2, ::2].copy()
  depth[: len(depth) // 3] = np.nan
  return depth


def wrong(pixels):
  """No depth at all."""
  return pixels
