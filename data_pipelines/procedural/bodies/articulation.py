"""Moving frames of reference and the rigid parts that hang on them."""

import dataclasses

import numpy as np
from jaxtyping import Float

from data_pipelines.procedural.bodies import primitives, rotations, textures

# Headings on the ground in degrees, from x (right) towards z (away).
HEADINGS = {"right": 0.0, "away": 90.0, "left": 180.0, "closer": 270.0}


@dataclasses.dataclass(frozen=True)
class Frame:
  """A moving frame: x forward, y down and z across for what has a front.

  Attributes:
    rotation: stage_from_frame, [T 3 3].
    origin: on the stage in metres, [T 3].
  """

  rotation: Float[np.ndarray, "T 3 3"]
  origin: Float[np.ndarray, "T 3"]

  def at(self, point) -> Float[np.ndarray, "T 3"]:
    """Returns a point of the frame (metres) on the stage."""
    return self.origin + self.rotation @ np.asarray(point, np.float64)

  def turned(self, joint, rotation: Float[np.ndarray, "*T 3 3"]) -> "Frame":
    """Returns a frame that turns about a joint of this one.

    Args:
      joint: its origin, [3] in metres.
      rotation: this_from_new, of every frame or of all.
    """
    return Frame(self.rotation @ rotation, self.at(joint))

  def part(
    self,
    shape: str,
    size,
    place,
    material: textures.Material,
    number: int = 1,
  ) -> primitives.Primitive:
    """Returns a primitive that is fixed to the frame, with the frame's axes.

    Args:
      shape: see `primitives`.
      size: in metres, up to three numbers.
      place: of its centre, [3] in metres.
      material: its surface.
      number: of the moving object, 0 for what never moves.
    """
    size = np.array([*size, *[0.0] * (3 - len(size))])
    return primitives.Primitive(
      shape, size, self.rotation, self.at(place), (material,), number
    )

  def bone(
    self, radius: float, length: float, material: textures.Material
  ) -> primitives.Primitive:
    """Returns a capsule whose axis runs from the origin along y."""
    half = 0.5 * length
    return self.part("capsule", (radius, half), (0, half, 0), material)


def standing(place, heading: float, num_frames: int) -> Frame:
  """Returns a frame that never moves.

  Args:
    place: of its origin on the stage, [3] in metres.
    heading: of its x axis in radians, from right towards away.
    num_frames: number of poses.
  """
  rotation = rotations.about_y(-heading)
  return Frame(
    np.repeat(rotation[None], num_frames, axis=0),
    np.tile(np.asarray(place, np.float64), (num_frames, 1)),
  )


def moving(frame: Frame, shift: Float[np.ndarray, "T 3"]) -> Frame:
  """Returns a frame that is shifted along its own axes, metres."""
  moved = frame.origin + (frame.rotation @ shift[..., None])[..., 0]
  return Frame(frame.rotation, moved)


def times(num_frames: int) -> Float[np.ndarray, "T"]:
  """Returns every frame's position within the clip, 0 to 1."""
  return np.linspace(0.0, 1.0, num_frames)


def sampled(
  values: Float[np.ndarray, "G"], num_frames: int
) -> Float[np.ndarray, "T"]:
  """Returns values of a fine grid over the clip at the times of the frames."""
  return np.interp(times(num_frames), np.linspace(0, 1, len(values)), values)


def forward_swing(angle) -> Float[np.ndarray, "*T 3 3"]:
  """Turns what hangs down (y) forward (x) by an angle in radians."""
  return rotations.about_z(-np.asarray(angle))


def side_swing(angle) -> Float[np.ndarray, "*T 3 3"]:
  """Turns what hangs down (y) across (z) by an angle in radians."""
  return rotations.about_x(np.asarray(angle))
