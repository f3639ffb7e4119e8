"""One moving shape of a scene: geometry, pose per frame, surface."""

import dataclasses

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural import cloth, shapes, textures


@dataclasses.dataclass(frozen=True)
class Primitive:
  """A shape with its pose in every frame, in stage coordinates.

  Attributes:
    shape: "ellipsoid", "box", "capsule", "room" or "cloth".
    size: the shape's size in metres, [3]; see `shapes`. Cloth: half width,
      half height, bound of the height.
    rotation: stage_from_local, [T 3 3].
    translation: local origin on the stage in metres, [T 3].
    materials: surfaces; a room has (ground, walls), others one.
    object_number: 0 for what never moves, else the moving object's number.
    wave: the wave of a cloth.
  """

  shape: str
  size: Float[np.ndarray, "3"]
  rotation: Float[np.ndarray, "T 3 3"]
  translation: Float[np.ndarray, "T 3"]
  materials: tuple[textures.Material, ...]
  object_number: int = 0
  wave: cloth.Wave | None = None

  def time(self, frame: int) -> float:
    """Returns the position of a frame within the clip, 0 to 1."""
    return frame / max(len(self.rotation) - 1, 1)

  def to_local(
    self,
    frame: int,
    origin: Float[np.ndarray, "3 #N"],
    direction: Float[np.ndarray, "3 N"],
  ) -> tuple[Float[np.ndarray, "3 #N"], Float[np.ndarray, "3 N"]]:
    """Returns rays of the stage in local coordinates; t stays the same."""
    local_from_stage = self.rotation[frame].T
    shift = self.translation[frame][:, None]
    return local_from_stage @ (origin - shift), local_from_stage @ direction

  def hit(
    self,
    frame: int,
    origin: Float[np.ndarray, "3 #N"],
    direction: Float[np.ndarray, "3 N"],
  ) -> Float[np.ndarray, "N"]:
    """Returns t of the first hit of stage rays, infinity where none."""
    origin, direction = self.to_local(frame, origin, direction)
    if self.shape == "cloth":
      return cloth.hit(
        self.wave, origin, direction, self.size, self.time(frame)
      )
    return shapes.HIT[self.shape](origin, direction, self.size)

  def local_normal(
    self, frame: int, point: Float[np.ndarray, "3 N"]
  ) -> Float[np.ndarray, "3 N"]:
    """Returns local unit normals at local surface points."""
    if self.shape == "cloth":
      return cloth.normal(
        self.wave, (point[0], point[1]), self.size, self.time(frame)
      )
    return shapes.NORMAL[self.shape](point, self.size)

  def stage_points(
    self, frame: int, material: Float[np.ndarray, "3 N"]
  ) -> Float[np.ndarray, "3 N"]:
    """Returns where material points (local points of any frame) are."""
    if self.shape == "cloth":
      lift = cloth.height(
        self.wave, (material[0], material[1]), self.size, self.time(frame)
      )
      material = np.stack([material[0], material[1], lift])
    return self.rotation[frame] @ material + self.translation[frame][:, None]

  def bounds(self) -> tuple[Float[np.ndarray, "T K 3"], float]:
    """Returns stage points of every frame and a radius that hold the shape."""
    points, radius = shapes.bounds(self.shape, self.size)
    moved = points @ np.swapaxes(self.rotation, -1, -2)
    return moved + self.translation[:, None], radius
