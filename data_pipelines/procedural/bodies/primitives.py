"""One moving shape of a scene: geometry, pose per frame, surface."""

import dataclasses

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural.bodies import (
  cloth,
  shapes,
  star_shapes,
  textures,
)


@dataclasses.dataclass(frozen=True)
class Primitive:
  """A shape with its pose in every frame, in stage coordinates.

  Attributes:
    shape: "ellipsoid", "box", "capsule", "cylinder", "room", "cloth", "blob".
    size: the shape's size in metres, [3]; see `shapes`. Cloth: half width,
      half height, bound of the height. Blob: mean radius, largest radius.
    rotation: stage_from_local, [T 3 3].
    translation: local origin on the stage in metres, [T 3].
    materials: surfaces; a room has (ground, walls), others one.
    object_number: 0 for what never moves, else the moving object's number.
    wave: the wave of a cloth or the bumps of a blob.
    stretch: local_from_material, [T 3 3], of what is deformed as a whole; None
      for what is not. Shape, size and texture are those of the material.
  """

  shape: str
  size: Float[np.ndarray, "3"]
  rotation: Float[np.ndarray, "T 3 3"]
  translation: Float[np.ndarray, "T 3"]
  materials: tuple[textures.Material, ...]
  object_number: int = 0
  wave: cloth.Wave | star_shapes.Bumps | None = None
  stretch: Float[np.ndarray, "T 3 3"] | None = None

  def time(self, frame: int) -> float:
    """Returns the position of a frame within the clip, 0 to 1."""
    return frame / max(len(self.rotation) - 1, 1)

  def to_local(
    self,
    frame: int,
    origin: Float[np.ndarray, "3 #N"],
    direction: Float[np.ndarray, "3 N"],
  ) -> tuple[Float[np.ndarray, "3 #N"], Float[np.ndarray, "3 N"]]:
    """Returns rays of the stage in local coordinates; t stays the same.

    Those of a stretched shape are in the coordinates of its material.
    """
    local_from_stage = self._unstretched(frame, self.rotation[frame].T)
    shift = self.translation[frame][:, None]
    return local_from_stage @ (origin - shift), local_from_stage @ direction

  def _unstretched(self, frame, local):
    """Turns columns of local coordinates into those of the material."""
    if self.stretch is None:
      return local
    return np.linalg.inv(self.stretch[frame]) @ local

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
    if self.shape == "blob":
      return star_shapes.hit(
        self.wave, origin, direction, self.size, self.time(frame)
      )
    return shapes.HIT[self.shape](origin, direction, self.size)

  def local_points(
    self, frame: int, points: Float[np.ndarray, "3 N"]
  ) -> Float[np.ndarray, "3 N"]:
    """Returns local coordinates of stage points."""
    return self.rotation[frame].T @ (points - self.translation[frame][:, None])

  def material_points(
    self, frame: int, local: Float[np.ndarray, "3 N"]
  ) -> Float[np.ndarray, "3 N"]:
    """Returns what `stage_points` takes, of local points on the surface.

    A cloth keeps the height that its points have in this frame.
    """
    if self.shape == "blob":
      return self.size[0] * local / np.sqrt((local * local).sum(axis=0))
    return self._unstretched(frame, local)

  def local_normal(
    self, frame: int, point: Float[np.ndarray, "3 N"]
  ) -> Float[np.ndarray, "3 N"]:
    """Returns local unit normals at local surface points."""
    if self.shape == "cloth":
      return cloth.normal(
        self.wave, (point[0], point[1]), self.size, self.time(frame)
      )
    if self.shape == "blob":
      return star_shapes.normal(self.wave, point, self.size, self.time(frame))
    if self.stretch is not None:
      inverse = np.linalg.inv(self.stretch[frame])
      normal = shapes.NORMAL[self.shape](inverse @ point, self.size)
      normal = inverse.T @ normal
      return normal / np.sqrt((normal * normal).sum(axis=0))
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
    elif self.shape == "blob":
      material = star_shapes.surface(
        self.wave, material, self.size, self.time(frame)
      )
    elif self.stretch is not None:
      material = self.stretch[frame] @ material
    return self.rotation[frame] @ material + self.translation[frame][:, None]

  def bounds(self) -> tuple[Float[np.ndarray, "T K 3"], float]:
    """Returns stage points of every frame and a radius that hold the shape."""
    if self.shape == "blob":
      return self.translation[:, None], float(self.size[1])
    points, radius = shapes.bounds(self.shape, self.size)
    if self.stretch is not None:
      longest = np.linalg.norm(self.stretch, ord=2, axis=(1, 2)).max()
      reach = np.linalg.norm(points, axis=-1).max() + radius
      return self.translation[:, None], float(longest * reach)
    moved = points @ np.swapaxes(self.rotation, -1, -2)
    return moved + self.translation[:, None], radius
