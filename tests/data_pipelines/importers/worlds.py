"""A small world with known points, cameras and 2D tracks, for all layouts."""

import dataclasses

import numpy as np

FRAMES, HEIGHT, WIDTH, POINTS = 9, 24, 32, 40
MATRIX = np.array([[30.0, 0, 16.5], [0, 30.0, 11.75], [0, 0, 1]])
CENTRED = np.array([[30.0, 0, 16], [0, 30.0, 12], [0, 0, 1]])
"""Camera matrices that count pixels from the picture's corner, as we do."""


@dataclasses.dataclass(frozen=True)
class World:
  """Points in the world and how the cameras see them.

  Attributes:
    matrix: [3 3].
    poses: [T 4 4] world from camera, x right, y down, z forward.
    points: [T N 3] world.
    positions: [T N 2] pixels, by 3x4 projection matrices.
    depth: [T N] along z.
    visible: [T N] bool.
    video: [T H W 3] uint8.
    maps: [T H W] depth, that of a visible point where one falls.
  """

  matrix: np.ndarray
  poses: np.ndarray
  points: np.ndarray
  positions: np.ndarray
  depth: np.ndarray
  visible: np.ndarray
  video: np.ndarray
  maps: np.ndarray

  @property
  def own(self):
    """Points in each frame's camera, [T N 3]."""
    return np.stack(
      [
        apply(np.linalg.inv(pose), points)
        for pose, points in zip(self.poses, self.points)
      ]
    )

  @property
  def first(self):
    """Points in the first camera, [T N 3]."""
    return np.stack(
      [apply(np.linalg.inv(self.poses[0]), points) for points in self.points]
    )


def apply(pose, points):
  """One 4x4 matrix to [N 3], in homogeneous coordinates."""
  return (np.c_[points, np.ones(len(points))] @ pose.T)[:, :3]


def turn(axis, angle):
  """Rotation by Rodrigues' formula."""
  x, y, z = np.asarray(axis) / np.linalg.norm(axis)
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def cameras(frames, still=False):
  """World from camera: somewhere in the world, then drifting and turning."""
  poses = np.tile(np.eye(4), (frames, 1, 1))
  start = turn([1, 2, 3], 0.7)
  for t in range(frames):
    step = 0 if still else t
    poses[t, :3, :3] = start @ turn([0.2, 1, 0.1], 0.01 * step)
    poses[t, :3, 3] = [2, -1, 0.5] + start @ [0.02 * step, 0, 0.03 * step]
  return poses


def make(
  dense=False, matrix=MATRIX, still=False, frames=FRAMES, size=(HEIGHT, WIDTH)
):
  """Points that begin inside the picture, some of which move."""
  rng = np.random.default_rng(3)
  height, width = size
  if dense:
    rows, columns = np.mgrid[:height, :width] + 0.5
    start = np.stack([columns.ravel(), rows.ravel()], -1)
  else:
    across = np.linspace(6, width - 6, 8)
    down = np.linspace(6, height - 6, POINTS // 8)
    start = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
    start += rng.uniform(-0.4, 0.4, start.shape)
  count = len(start)
  depth = 3 + np.sin(start[:, 0] / 7) + np.cos(start[:, 1] / 5)
  rays = np.c_[start, np.ones(count)] @ np.linalg.inv(matrix).T
  poses = cameras(frames, still)
  origin = apply(poses[0], rays * depth[:, None])
  moving = start[:, 0] > width / 2
  points = np.repeat(origin[None], frames, 0)
  times = np.arange(frames)[:, None, None]
  points += np.where(moving[:, None], [0.01, -0.005, 0.02] * times, 0)
  projection = [matrix @ np.linalg.inv(pose)[:3] for pose in poses]
  seen = np.stack(
    [np.c_[p, np.ones(count)] @ q.T for p, q in zip(points, projection)]
  )
  positions, depth = seen[..., :2] / seen[..., 2:], seen[..., 2]
  visible = rng.random((frames, count)) > 0.2
  visible[0] = True
  cells = np.floor(positions).astype(int)
  inside = ((cells >= 0) & (cells < [width, height])).all(-1)
  visible &= inside
  maps = np.full((frames, height, width), 4.0)
  for t in range(frames):
    # Where two fall into one pixel, the map can show one of them only.
    flat = np.where(inside[t], cells[t, :, 1] * width + cells[t, :, 0], -1)
    _, chosen = np.unique(flat, return_index=True)
    visible[t] &= np.isin(np.arange(count), chosen)
    shown = np.flatnonzero(visible[t])
    maps[t, cells[t, shown, 1], cells[t, shown, 0]] = depth[t, shown]
  ramp = np.linspace(30, 220, width)[None, :, None] + np.zeros((height, 1, 3))
  video = np.stack([ramp + 2 * t for t in range(frames)]).astype(np.uint8)
  return World(matrix, poses, points, positions, depth, visible, video, maps)
