"""Records of procedural scenes, light ones for tracks and full ones."""

import dataclasses

import numpy as np

from data_pipelines.procedural import scenes
from data_pipelines.procedural.rendering import tracking
from more4d_jax.data import records

SOURCE = "procedural"
LICENCE = "Apache-2.0"


@dataclasses.dataclass(frozen=True)
class RecordOptions:
  """What a record of a scene holds.

  Attributes:
    frames: number of frames of the tracks.
    height, width: pixels.
    light: whether only the first frame is rendered, without other views.
    kind: a kind of the version, or "all" for its mixture.
    views: number of other moving cameras that a full record is filmed by.
    version: of the scenes, see `catalogue.VERSIONS`.
    textures, photos: folders of photographs, see `scene.SceneOptions`.
  """

  frames: int = 9
  height: int = 48
  width: int = 64
  light: bool = False
  kind: str = "all"
  views: int = 1
  version: int = 1
  textures: str | None = None
  photos: str | None = None


def scene_options(options: RecordOptions) -> scenes.SceneOptions:
  """Returns the scene's part of a record's options."""
  return scenes.SceneOptions(
    options.frames,
    options.height,
    options.width,
    options.kind,
    options.version,
    options.textures,
    options.photos,
  )


def _relative(scene: scenes.Scene, poses: np.ndarray) -> np.ndarray:
  """Returns poses in the first camera's coordinates, [T 4 4] float32."""
  relative = scene.first_from_stage() @ poses
  same = (poses == scene.camera.stage_from_camera[0]).all(axis=(1, 2))
  relative[same] = np.eye(4)  # Without the rounding of the inverse.
  return relative.astype(np.float32)


def _views(scene, count):
  """Returns the scene as filmed by other cameras."""
  views = []
  for number in range(count):
    camera = scene.other_camera(number)
    video = scene.renderer(camera).video()
    poses = _relative(scene, camera.stage_from_camera)
    views.append(records.View(poses, video.frames))
  return tuple(views)


def make_record(
  seed: int, options: RecordOptions, motion_seed: int | None = None
) -> records.Record:
  """Simulates, renders and tracks one scene.

  Args:
    seed: number of the scene, 0 or larger.
    options: what the record holds.
    motion_seed: see `scenes.make_scene`; the record is then the oracle's.
  Returns: the record. Tracks of frame 0 are the pixels' own points exactly, up
    to float32; everything is in metres.

  Raises:
    ValueError: unknown kind, negative seed or an empty size.
  """
  scene = scenes.make_scene(seed, scene_options(options), motion_seed)
  renderer = scene.renderer(scene.camera)
  video = renderer.video(1 if options.light else None)
  tracks, visible = tracking.track(renderer, video.depth[0], video.number[0])
  # The last number, -1 of a pixel, is the open sky.
  numbers = [*(p.object_number for p in scene.world.items), 0]
  version = "" if options.version == 1 else f" {options.version}"
  return records.Record(
    id=f"{SOURCE}-{scene.kind}-{seed}",
    caption=scene.caption,
    source=f"{SOURCE}{version}, kind {scene.kind}, seed {seed}",
    licence=LICENCE,
    fps=float(scene.fps),
    frame_indices=np.arange(options.frames, dtype=np.int32),
    video=video.frames,
    tracks=tracks.astype(np.float32),
    visible=visible,
    depth=np.where(np.isfinite(video.depth), video.depth, np.nan).astype(
      np.float32
    ),
    intrinsics=scene.camera.intrinsics.astype(np.float32),
    world_from_camera=_relative(scene, scene.camera.stage_from_camera),
    tracks_frame="first_camera",
    segmentation=np.array(numbers, np.uint8)[video.number[0]],
    views=() if options.light else _views(scene, options.views),
  )
