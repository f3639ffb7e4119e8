"""Ambient occlusion: how much of the sky the surroundings hide.

From depth and normals of the picture (McGuire et al., "The Alchemy
Screen-Space Ambient Obscurance Algorithm", 2011), at half the resolution.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float32

_TAPS = 10
_STRENGTH = 1.25


def _offsets(reach: int) -> list[tuple[int, int]]:
  """Returns places of a spiral, in pixels of the smaller picture."""
  turn = np.arange(_TAPS) * 2.4
  radius = reach * ((np.arange(_TAPS) + 0.7) / _TAPS) ** 0.8
  rows, columns = radius * np.sin(turn), radius * np.cos(turn)
  return [
    (round(float(r)), round(float(c)))
    for r, c in zip(rows, columns, strict=True)
  ]


def visible_sky(
  points: Float32[np.ndarray, "3 H W"],
  normals: Float32[np.ndarray, "3 H W"],
  depth: Float[np.ndarray, "H W"],
  focal: float,
) -> Float32[np.ndarray, "H W"]:
  """Returns the share of the light from everywhere that reaches each pixel.

  Args:
    points: that the pixels see; anything where nothing is seen.
    normals: unit normals towards the viewer.
    depth: z-depth in metres, infinite where nothing is seen.
    focal: length in pixels.
  """
  height, width = depth.shape
  at, towards = points[:, ::2, ::2], normals[:, ::2, ::2]
  near = depth[::2, ::2].astype(np.float32)
  near = np.where(np.isfinite(near), near, np.float32(1e6))
  reach = max(int(0.055 * max(height, width)), 2)
  radius = 2 * reach / focal * near  # Metres that the reach stands for.
  pad = ((reach, reach), (reach, reach))
  around = np.stack([np.pad(p, pad, mode="edge") for p in at])
  rows, columns = near.shape
  hidden = np.zeros_like(near)
  for dy, dx in _offsets(reach):
    row, column = reach + dy, reach + dx
    away = around[:, row : row + rows, column : column + columns] - at
    square = np.einsum("chw,chw->hw", away, away)
    above = np.einsum("chw,chw->hw", away, towards) - 0.06 * radius
    hidden += np.maximum(above, 0) * radius / (square + 0.09 * radius * radius)
  share = np.maximum(0, 1 - _STRENGTH * hidden / _TAPS)
  share = scipy.ndimage.uniform_filter(share, 3, mode="nearest")
  full = np.repeat(np.repeat(share, 2, axis=0), 2, axis=1)[:height, :width]
  return scipy.ndimage.uniform_filter(full, 3, mode="nearest")
