"""Conversions between the conventions of data sets, in NumPy and float64."""

import numpy as np
from scipy.spatial import transform as rotating

BLENDER = np.diag([1.0, -1.0, -1.0, 1.0])
"""Blender and OpenGL look along -z with y up; this turns them to ours."""


def from_matrix(matrix: np.ndarray, centre: float) -> np.ndarray:
  """[... 3 3] camera matrices to (fx, fy, cx, cy) with centres at + 0.5.

  Args:
    matrix: in pixels.
    centre: where the source puts the centre of the first pixel, 0 or 0.5.
  """
  fx, fy = matrix[..., 0, 0], matrix[..., 1, 1]
  shift = 0.5 - centre
  cx, cy = matrix[..., 0, 2] + shift, matrix[..., 1, 2] + shift
  return np.stack([fx, fy, cx, cy], axis=-1).astype(np.float64)


def as_poses(matrices: np.ndarray) -> np.ndarray:
  """[T 3 4] or [T 4 4] to [T 4 4] float64."""
  matrices = np.asarray(matrices, np.float64)
  if matrices.shape[-2] == 4:
    return matrices
  last = np.broadcast_to([0.0, 0, 0, 1], (*matrices.shape[:-2], 1, 4))
  return np.concatenate([matrices, last], axis=-2)


def inverse(poses: np.ndarray) -> np.ndarray:
  """Of rigid transforms [... 4 4]."""
  rotation = np.swapaxes(poses[..., :3, :3], -1, -2)
  position = -np.einsum("...ij,...j->...i", rotation, poses[..., :3, 3])
  result = np.zeros_like(poses)
  result[..., :3, :3], result[..., :3, 3] = rotation, position
  result[..., 3, 3] = 1
  return result


def transform(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
  """[T N 3] points moved by [T 4 4] poses."""
  rotation, position = poses[:, :3, :3], poses[:, :3, 3]
  return points @ np.swapaxes(rotation, 1, 2) + position[:, None]


def rotations(quaternions: np.ndarray) -> np.ndarray:
  """[... 4] (w, x, y, z) to [... 3 3]."""
  turns = rotating.Rotation.from_quat(
    quaternions.reshape(-1, 4), scalar_first=True
  )
  return turns.as_matrix().reshape(*quaternions.shape[:-1], 3, 3)


def rigid(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
  """[T 3 3] and [T 3] to poses [T 4 4]."""
  return as_poses(np.concatenate([rotation, position[..., None]], axis=-1))


def project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
  """Camera-space [T N 3] with [4] or [T 4] to pixels [T N 2].

  Not finite or mirrored where z <= 0.
  """
  intrinsics = np.broadcast_to(intrinsics, (len(points), 4))[:, None]
  with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
    across = points[..., :2] / points[..., 2:]
    return across * intrinsics[..., :2] + intrinsics[..., 2:]


def unproject(
  positions: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray
) -> np.ndarray:
  """Pixels [T N 2] at depth [T N] along z to camera space [T N 3]."""
  intrinsics = np.broadcast_to(intrinsics, (len(positions), 4))[:, None]
  rays = (positions - intrinsics[..., 2:]) / intrinsics[..., :2]
  return np.concatenate([rays * depth[..., None], depth[..., None]], axis=-1)


def pixel_grid(height: int, width: int) -> np.ndarray:
  """[H W 2] x, y of the pixels' centres."""
  rows, columns = np.mgrid[:height, :width] + 0.5
  return np.stack([columns, rows], axis=-1)
