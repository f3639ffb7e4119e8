"""A camera path, as a file holds it and as a scene is filmed along it."""

import dataclasses

import numpy as np
from jaxtyping import Float, Real

from more4d_jax import errors, plausibility
from more4d_jax.geometry import key_frames


@dataclasses.dataclass(frozen=True)
class CameraPath:
  """Poses, OpenCV axes, and perhaps intrinsics.

  Attributes:
    world_from_camera: one pose per frame.
    intrinsics: (fx, fy, cx, cy) per frame, or None for the scene's own.
    size: (H, W) of the picture whose pixels they are, where that is known.
  """

  world_from_camera: Float[np.ndarray, "T 4 4"]
  intrinsics: Float[np.ndarray, "T 4"] | None
  size: plausibility.Size | None = None

  def for_frames(
    self, num_frames: int, name: str, *, resample: bool = False
  ) -> "CameraPath":
    """The path for a scene of `num_frames`; a single pose serves all frames.

    Args:
      num_frames: of the scene.
      name: of the path, for messages.
      resample: bring another number of poses to that of the scene, evenly
        along the path; else only one pose is brought to it.

    Raises:
      UserError: for another number of poses.
    """
    found = len(self.world_from_camera)
    if found == num_frames:
      return self
    if found == 1:
      return self._taken(np.zeros(num_frames, int))
    if resample:
      return self.interpolated(
        np.arange(found), np.linspace(0, found - 1, num_frames)
      )
    raise errors.UserError(
      f"{name}: expected {num_frames} camera poses, one per frame of the "
      f"scene, or a single one; found {found}; --resample-path brings them to "
      "that number"
    )

  def for_picture(self, size: tuple[int, int], name: str) -> "CameraPath":
    """The path with intrinsics in pixels of a scene's picture.

    Args:
      size: (H, W) of the picture.
      name: of the path, for messages.

    Raises:
      UserError: if the intrinsics can belong to no picture.
    """
    if self.intrinsics is None or self.size == size:
      return dataclasses.replace(self, size=size)
    moved = plausibility.intrinsics(self.intrinsics, size, name, self.size)
    return CameraPath(self.world_from_camera, moved.astype(np.float32), size)

  def from_first(self) -> "CameraPath":
    """The path seen from its first camera, which a scene's world is."""
    first = np.linalg.inv(self.world_from_camera[0].astype(np.float64))
    poses = first @ self.world_from_camera
    poses[:, 3] = (0, 0, 0, 1)
    poses[0] = np.eye(4)
    return dataclasses.replace(self, world_from_camera=poses.astype(np.float32))

  def interpolated(
    self, times: Real[np.ndarray, "T"], wanted: Real[np.ndarray, "N"]
  ) -> "CameraPath":
    """A smooth path through the poses.

    Args:
      times: of the poses, increasing.
      wanted: of the result's poses, in the same unit.
    """
    poses = key_frames.interpolated(self.world_from_camera, times, wanted)
    lens = self.intrinsics
    if lens is not None and len(times) > 1:
      lens = key_frames.along(lens, times, np.clip(wanted, *times[[0, -1]]))
      lens = lens.astype(np.float32)
    return CameraPath(poses, lens, self.size)

  def _taken(self, frames: np.ndarray) -> "CameraPath":
    lens = None if self.intrinsics is None else self.intrinsics[frames]
    return dataclasses.replace(
      self, world_from_camera=self.world_from_camera[frames], intrinsics=lens
    )


def make(
  world_from_camera: Float[np.ndarray, "T 4 4"],
  intrinsics: Float[np.ndarray, "N 4"] | None,
  size: plausibility.Size | None,
  name: str,
) -> CameraPath:
  """A path of a file, whose one camera may serve every pose.

  Raises:
    UserError: for another number of cameras, or intrinsics that are none of
      the picture that they are said to belong to.
  """
  count = len(world_from_camera)
  if intrinsics is not None:
    if len(intrinsics) not in (1, count):
      raise errors.UserError(
        f"{name}: intrinsics must be one (fx, fy, cx, cy) or one per pose "
        f"({count}), found {len(intrinsics)}"
      )
    if size is not None:
      plausibility.intrinsics(intrinsics, size, name, size)
    intrinsics = np.broadcast_to(intrinsics, (count, 4)).astype(np.float32)
  return CameraPath(world_from_camera.astype(np.float32), intrinsics, size)


def lens_of(
  path: CameraPath, kind: str
) -> tuple[Float[np.ndarray, "T 4"], tuple[int, int]]:
  """Intrinsics in pixels, and (H, W) of their picture, to write a file.

  Args:
    path: to write.
    kind: of file, for the message.

  Raises:
    UserError: if the path lacks one of them.
  """
  if path.intrinsics is None or path.size is None:
    raise errors.UserError(
      f"a {kind} file needs intrinsics and the size of their picture; this "
      "camera path has none: film a scene along it, or write it as .json"
    )
  height, width = (round(side) for side in path.size)
  return path.intrinsics.astype(np.float64), (height, width)
