"""The grid and the camera that a cloud of first-frame points was made with.

Dense trackers (DELTA, and TrajScene-60K made with it) store `coords`
[T, H W, 3] without H, W or the camera. The first frame's points lie on the
rays of a pixel grid in row order, so that x/z is linear in the column and y/z
in the row: only one width fits, and the fit is the camera.
"""

import numpy as np

from data_pipelines.importers import scene as scene_lib

_SAMPLE = 20000
_ASPECTS = (0.25, 4.0)
_WELL = 0.25  # Pixels; median residual of the right width.


def find(first: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
  """Grid (H, W) and intrinsics [4] of first-frame points [N 3].

  The camera is that of the grid's own pixels, with centres at + 0.5: what the
  tracker was told about its picture, whatever size that had.

  Raises:
    Refused: no width fits.
  """
  count = len(first)
  valid = np.isfinite(first).all(-1) & (first[:, 2] > 0)
  numbers = np.flatnonzero(valid)
  if len(numbers) < 4:
    raise scene_lib.Refused("fewer than 4 points have a positive first depth")
  if len(numbers) > _SAMPLE:
    numbers = np.random.default_rng(0).choice(numbers, _SAMPLE, replace=False)
  rays = (first[numbers, :2] / first[numbers, 2:]).astype(np.float64)
  best, found = np.inf, None
  for width in _widths(count):
    cells = np.stack([numbers % width, numbers // width], axis=-1) + 0.5
    fits = [_line(rays[:, axis], cells[:, axis]) for axis in (0, 1)]
    residual = max(fit[2] for fit in fits)
    if residual < best:
      (fx, cx, _), (fy, cy, _) = fits
      best, found = residual, (width, np.array([fx, fy, cx, cy]))
  if found is None or not best < _WELL:
    raise scene_lib.Refused(
      f"its {count} points are no grid of pixels in row order: no width fits "
      f"their first frame"
    )
  width, intrinsics = found
  return (count // width, width), intrinsics


def _widths(count: int) -> list[int]:
  low, high = _ASPECTS
  return [
    width
    for width in range(2, count + 1)
    if count % width == 0 and low <= width / (count // width) <= high
  ]


def _line(rays: np.ndarray, cells: np.ndarray) -> tuple[float, float, float]:
  """Focal length and centre of cells = f ray + c, and median residual.

  A second fit leaves out what the first one misses, as trackers do not leave
  every point on its pixel.
  """
  kept = np.ones(len(rays), bool)
  residual = np.zeros(len(rays))
  focal = centre = 0.0
  for _ in range(2):
    mean_ray, mean_cell = rays[kept].mean(), cells[kept].mean()
    spread = ((rays[kept] - mean_ray) ** 2).sum()
    if not spread > 0:
      return 0.0, 0.0, np.inf
    product = (rays[kept] - mean_ray) @ (cells[kept] - mean_cell)
    focal = product / spread
    centre = mean_cell - focal * mean_ray
    residual = np.abs(focal * rays + centre - cells)
    kept = residual <= max(3 * np.median(residual), 1e-4)
  if not focal > 0:
    return 0.0, 0.0, np.inf
  return focal, centre, float(np.median(residual))
