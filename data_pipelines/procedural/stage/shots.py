"""The shot: where the camera stands and how large its subject appears."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import rotations
from data_pipelines.procedural.rendering import cameras


@dataclasses.dataclass(frozen=True)
class Shot:
  """A camera that looks at a subject on the ground.

  Attributes:
    intrinsics: (fx, fy, cx, cy) in pixels, [4].
    height, width: of the picture in pixels.
    stage_from_camera: pose of the first frame, [4 4].
    subject: middle of the subject on the stage, [3]; y is minus its height.
    depth: z-depth of the subject in metres.
    radius: of a ball with the subject's picture area, metres.
  """

  intrinsics: np.ndarray
  height: int
  width: int
  stage_from_camera: np.ndarray
  subject: np.ndarray
  depth: float
  radius: float

  def metres(self, share: float) -> float:
    """Returns the length at the subject that fills a share of the width.

    The width is that of a 4:3 picture of this height.
    """
    return share * self.height * 4 / 3 * self.depth / self.intrinsics[0]


def make_shot(
  rng: np.random.Generator,
  size: tuple[int, int],
  area: tuple[float, float],
  rise: float = 1.0,
) -> Shot:
  """Draws camera and subject.

  Args:
    rng: source of the draws.
    size: (height, width) of the picture in pixels.
    area: lowest and highest share of the picture that the subject covers.
    rise: height of the subject's middle above the ground in radii.
  """
  height, width = size
  field_of_view = rng.uniform(np.radians(46), np.radians(68))
  # The angle belongs to a picture of 4:3; wider ones see more to the sides.
  focal = height * 4 / 3 / (2 * np.tan(field_of_view / 2))
  intrinsics = np.array([focal, focal, width / 2, height / 2])
  pitch = rng.uniform(np.radians(5), np.radians(20))
  forward = rng.uniform(2.2, 4.2)
  below = rng.uniform(-0.02, 0.16) * height / focal
  drop = forward * np.tan(pitch + np.arctan(below))
  depth = forward * np.cos(pitch) + drop * np.sin(pitch)
  pixels = np.sqrt(rng.uniform(*area) * height * height * 4 / 3 / np.pi)
  radius = depth * pixels / focal
  column = rng.uniform(-0.1, 0.1) * height * 4 / 3
  side = column * depth / focal
  pose = np.eye(4)
  pose[:3, :3] = rotations.about_x(-pitch)
  pose[1, 3] = -(rise * radius + drop)
  subject = np.array([side, -rise * radius, forward])
  return Shot(intrinsics, height, width, pose, subject, depth, radius)


def _orbit(shot, share, turn, lift):
  """Returns poses that circle around the subject, always turned to it."""
  base = shot.stage_from_camera
  pivot = base[:3, 3] + base[:3, 2] * shot.depth
  arm = base[:3, 3] - pivot
  spin = rotations.about_y(-share * turn)
  eye = pivot + (spin @ arm) + share[:, None] * np.array([0.0, lift, 0.0])
  return cameras.look_at(eye, np.broadcast_to(pivot, eye.shape))


def _shift(shot, share, move):
  """Returns poses that slide along the camera's own axes."""
  base = shot.stage_from_camera
  poses = np.repeat(base[None], len(share), axis=0)
  poses[:, :3, 3] += share[:, None] * (base[:3, :3] @ move)
  return poses


def _pan(shot, share, turn):
  """Returns poses that turn in place about the vertical."""
  poses = np.repeat(shot.stage_from_camera[None], len(share), axis=0)
  poses[:, :3, :3] = rotations.about_y(share * turn) @ poses[:, :3, :3]
  return poses


def moving_poses(
  rng: np.random.Generator, shot: Shot, num_frames: int, strength: float = 1.0
) -> np.ndarray:
  """Draws a smooth camera path that starts at the shot, [T 4 4].

  Args:
    rng: source of the path.
    shot: first pose and what the camera looks at.
    num_frames: number of poses.
    strength: scales every movement.
  """
  time = np.linspace(0.0, 1.0, num_frames)
  share = time if rng.random() < 0.5 else time * time * (3 - 2 * time)
  side, depth = randomness.sign(rng), shot.depth * strength
  name = randomness.pick(rng, ("orbit", "slide", "forward", "back", "pan"))
  if name == "orbit":
    turn = side * np.radians(rng.uniform(8, 24)) * strength
    return _orbit(shot, share, turn, rng.uniform(-0.08, 0.04) * depth)
  if name == "slide":
    move = [side * rng.uniform(0.1, 0.25) * depth, 0, 0]
  elif name == "forward":
    move = [0, 0, rng.uniform(0.1, 0.25) * depth]
  elif name == "back":
    move = [0, 0, -rng.uniform(0.1, 0.25) * depth]
  else:
    turn = side * np.radians(rng.uniform(4, 10)) * strength
    return _pan(shot, share, turn)
  return _shift(shot, share, np.array(move, np.float64))


def still_poses(shot: Shot, num_frames: int) -> np.ndarray:
  """Returns the shot's pose for every frame, [T 4 4]."""
  return np.repeat(shot.stage_from_camera[None], num_frames, axis=0)
