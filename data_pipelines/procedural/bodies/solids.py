"""Rigid things with a name: their shape, stance and how they travel."""

import dataclasses

import numpy as np

from data_pipelines.procedural.bodies import primitives, rotations, textures


@dataclasses.dataclass(frozen=True)
class Solid:
  """A kind of rigid thing, measured in radii of a ball of equal picture area.

  Attributes:
    shape: of the primitive.
    size: in radii.
    rise: height of the centre above the ground in radii.
    verb: what it does when it travels.
    rolls: whether travelling turns it.
  """

  shape: str
  size: tuple[float, float, float]
  rise: float
  verb: str
  rolls: bool = False


SOLIDS = {
  "ball": Solid("ellipsoid", (1.0, 1.0, 1.0), 1.0, "rolls", rolls=True),
  "egg": Solid("ellipsoid", (0.82, 1.2, 0.82), 1.2, "glides"),
  "cube": Solid("box", (0.76, 0.76, 0.76), 0.76, "slides"),
  "box": Solid("box", (1.05, 0.62, 0.7), 0.62, "slides"),
  "barrel": Solid("capsule", (0.92, 0.7, 0.0), 0.92, "rolls", rolls=True),
  "post": Solid("capsule", (0.62, 0.78, 0.0), 1.4, "glides"),
}
PLURALS = {
  "ball": "balls",
  "egg": "eggs",
  "cube": "cubes",
  "box": "boxes",
  "barrel": "barrels",
  "post": "posts",
}


def stance(name: str, yaw: float) -> np.ndarray:
  """Returns the rotation [3 3] of a thing at rest.

  A barrel lies with its axis nearly along the view; everything else turns
  freely about the vertical.
  """
  if name == "barrel":
    return rotations.about_y(0.25 * np.sin(yaw)) @ rotations.about_x(np.pi / 2)
  return rotations.about_y(yaw)


def travelling(
  name: str,
  radius: float,
  path: np.ndarray,
  yaw: float,
  material: textures.Material,
  number: int,
) -> primitives.Primitive:
  """Returns a solid that follows a path over the ground.

  Args:
    name: of a solid.
    radius: metres that one unit of the solid's size stands for.
    path: place of the ground point below (or above) it, [T 3] in metres.
    yaw: turn at rest, radians.
    material: surface.
    number: of the moving object, 0 for clutter.
  """
  solid = SOLIDS[name]
  size = np.array(solid.size) * radius
  rotation = np.repeat(stance(name, yaw)[None], len(path), axis=0)
  if solid.rolls and number:
    step = path[-1] - path[0]
    length = np.hypot(step[0], step[2])
    if length > 0:
      axis = np.array([-step[2], 0.0, step[0]]) / length
      if solid.shape == "capsule":  # It turns about its own axis only.
        own = rotation[0, :, 1]
        axis = own if own @ axis > 0 else -own
      along = (path - path[0]) @ (step * [1, 0, 1]) / length
      spin = rotations.about_axis(axis, along / (solid.rise * radius))
      rotation = spin @ rotation
  translation = path + np.array([0.0, -solid.rise * radius, 0.0])
  return primitives.Primitive(
    solid.shape, size, rotation, translation, (material,), number
  )
