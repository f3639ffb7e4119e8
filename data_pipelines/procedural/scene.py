"""What a scene is: its world, its camera, its caption and who films it."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.rendering import cameras, filming, shading
from data_pipelines.procedural.stage import shots


@dataclasses.dataclass(frozen=True)
class SceneOptions:
  """Size and kind of a scene.

  Attributes:
    frames: number of frames of the clip.
    height, width: pixels.
    kind: a kind of the version, or "all" for its mixture.
    version: of the scenes, see `catalogue.VERSIONS`.
    textures: folder of photographs that become surfaces (version 3).
    photos: folder of photographs that become backdrops (version 3).
  """

  frames: int = 9
  height: int = 48
  width: int = 64
  kind: str = "all"
  version: int = 1
  textures: str | None = None
  photos: str | None = None


@dataclasses.dataclass(frozen=True)
class Scene:
  """A simulated scene.

  Attributes:
    seed: its number.
    kind: a kind of its version.
    caption: one sentence.
    world: everything that can be seen.
    camera: the scene's own camera.
    shot: the first view, from which other cameras start.
    fps: frames per second.
  """

  seed: int
  kind: str
  caption: str
  world: shading.World
  camera: cameras.Camera
  shot: shots.Shot
  fps: float

  def first_from_stage(self) -> np.ndarray:
    """Returns the transform to the first camera's coordinates, [4 4]."""
    return np.linalg.inv(self.camera.stage_from_camera[0])

  def other_camera(self, number: int) -> cameras.Camera:
    """Returns a moving camera that starts at the scene's first view.

    Args:
      number: other numbers give other paths.
    """
    rng = randomness.generator(self.seed, f"view {number}")
    poses = shots.moving_poses(rng, self.shot, self.camera.num_frames, 1.2)
    return dataclasses.replace(self.camera, stage_from_camera=poses)

  def renderer(self, camera: cameras.Camera) -> shading.Renderer:
    """Returns what films the scene with a camera."""
    return shading.Renderer(self.world, camera)


@dataclasses.dataclass(frozen=True)
class FilmedScene(Scene):
  """A scene whose pictures look like photographs; `world` is a `Stage`."""

  world: filming.Stage

  def renderer(self, camera: cameras.Camera) -> filming.Renderer:
    """Returns what films the scene with a camera."""
    return filming.Renderer(self.world, camera)
