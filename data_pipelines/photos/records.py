"""Films photographs: records with exact tracks, depth and visibility."""

import dataclasses
import pathlib

import numpy as np

from data_pipelines.photos import depth_maps, meshes, motions
from data_pipelines.photos import folder as photo_folder
from data_pipelines.photos import scenes as photo_scenes
from data_pipelines.procedural import randomness
from data_pipelines.procedural.rendering import cameras
from more4d_jax import errors, pictures
from more4d_jax.data import records

SOURCE = "photos"
LICENCE = "that of the photograph"
_FPS = 12.0
_TRIED = 20  # Pictures in a row that may be unreadable.
_SAME = 0.01  # Of the depth: what counts as the same surface.


@dataclasses.dataclass(frozen=True)
class RecordOptions:
  """What a record holds.

  Attributes:
    photos: folder of photographs.
    depth: see `depth_maps.HELP`.
    frames: of the tracks.
    height: rows of the grid.
    width: columns of the grid.
    light: film and depth of the first frame only.
    views: number of other cameras that film it.
  """

  photos: str
  depth: str | None
  frames: int
  height: int
  width: int
  light: bool = False
  views: int = 0


def make_record(seed: int, options: RecordOptions) -> records.Record:
  """Cuts, moves and films the photograph of a number.

  A photograph that cannot be read is left out for the next one in order;
  `source` names the one that was taken.

  Raises:
    UserError: no photographs, no depth, or 20 that cannot be read.
  """
  provider = depth_maps.provider(options.depth)
  skipped = []
  for turn in range(_TRIED):
    name = photo_folder.name_of(options.photos, seed + turn)
    path = pathlib.Path(options.photos, name)
    try:
      picture = pictures.from_file(path)
    except errors.UserError as error:
      skipped.append(f"{name}: {error}")
      continue
    depth = provider(picture.pixels, path, pathlib.Path(options.photos))
    size = (options.frames, options.height, options.width)
    scene = photo_scenes.make(seed, path, depth, picture, size)
    note = f", in place of {len(skipped)} unreadable" if skipped else ""
    return _record(seed, scene, f"{SOURCE} {name}, seed {seed}{note}", options)
  raise errors.UserError(
    f"{_TRIED} photographs in a row cannot be read; the last is {skipped[-1]}"
  )


def _record(seed, scene, source, options) -> records.Record:
  film = Film(scene)
  shown = 1 if options.light else options.frames
  video, depth = film.video(scene.camera, shown)
  sight = film.sight(scene.camera, 0, 1)
  tracks, visible = film.tracks(sight)
  views = ()
  if not options.light:
    views = tuple(
      _view(film, seed, number, options) for number in range(options.views)
    )
  return records.Record(
    id=f"{SOURCE}-{seed}",
    caption=scene.caption,
    source=source,
    licence=LICENCE,
    fps=_FPS,
    frame_indices=np.arange(options.frames, dtype=np.int32),
    video=video,
    tracks=tracks,
    visible=visible,
    depth=depth,
    intrinsics=scene.camera.intrinsics.astype(np.float32),
    world_from_camera=scene.camera.stage_from_camera.astype(np.float32),
    tracks_frame="first_camera",
    segmentation=np.maximum(sight.layer, 0).astype(np.uint8),
    views=views,
  )


def _view(film, seed, number, options) -> records.View:
  """The scene by a camera that begins somewhat aside and stays there."""
  rng = randomness.generator(seed, f"view {number}")
  near = float(np.median(film.scene.layers[0].depth)) * 0.06
  poses = film.scene.camera.stage_from_camera.copy()
  poses[:, :3, 3] += rng.uniform(-1, 1, 3) * near
  camera = dataclasses.replace(film.scene.camera, stage_from_camera=poses)
  video, _ = film.video(camera, options.frames)
  return records.View(poses.astype(np.float32), video)


def _in_camera(
  camera: cameras.Camera, frame: int, points: np.ndarray
) -> np.ndarray:
  """Points [N 3] of the first camera in the coordinates of a frame's."""
  pose = camera.stage_from_camera[frame]
  return motions.rotated(pose[:3, :3].T, points - pose[:3, 3])


class Film:
  """Looks at a scene with any camera."""

  def __init__(self, scene: photo_scenes.Scene):
    """Prepares the surfaces."""
    self.scene = scene
    self._meshes = photo_scenes.surfaces(scene)

  def _seen(self, camera: cameras.Camera, frame: int) -> list[np.ndarray]:
    """Places of each layer's pixels in a camera's coordinates."""
    return [
      _in_camera(camera, frame, self.scene.places(number, frame))
      for number in range(len(self._meshes))
    ]

  def sight(
    self, camera: cameras.Camera, frame: int, times: int
  ) -> meshes.Sight:
    """What the rays of a frame meet, `times` as many in each direction."""
    return meshes.look(
      self._meshes,
      self._seen(camera, frame),
      camera.intrinsics * times,
      (camera.height * times, camera.width * times),
    )

  def video(
    self, camera: cameras.Camera, frames: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [T H W 3] uint8, and depth [T H W], NaN where unknown."""
    shown, depth = [], []
    for frame in range(frames):
      shown.append(self._picture(self.sight(camera, frame, 2)))
      centre = self.sight(camera, frame, 1)
      known = (centre.layer >= 0) & self._known(centre)
      depth.append(np.where(known, centre.depth, np.nan).astype(np.float32))
    return np.stack(shown), np.stack(depth)

  def _known(self, sight: meshes.Sight) -> np.ndarray:
    columns, rows = np.moveaxis(np.floor(sight.place).astype(int), -1, 0)
    return self.scene.known[rows, columns]

  def _picture(self, sight: meshes.Sight) -> np.ndarray:
    colours = np.zeros((*sight.depth.shape, 3))
    for number, layer in enumerate(self.scene.layers):
      mine = sight.layer == number
      colours[mine] = meshes.sample(layer.colours, 2 * sight.place[mine])
    height, width = sight.depth.shape
    quarters = colours.reshape(height // 2, 2, width // 2, 2, 3)
    mean = quarters.mean(axis=(1, 3))
    return np.clip(np.round(mean), 0, 255).astype(np.uint8)

  def tracks(self, first: meshes.Sight) -> tuple[np.ndarray, np.ndarray]:
    """Paths [T H W 3] float32 and visibility of the first frame's pixels."""
    camera, scene = self.scene.camera, self.scene
    shape = first.depth.shape
    known = ((first.layer >= 0) & self._known(first)).ravel()
    columns, rows = np.floor(first.place).astype(int).reshape(-1, 2).T
    number = rows * scene.known.shape[1] + columns
    tracks, visible = [], []
    for frame in range(camera.num_frames):
      own = np.full((len(number), 3), np.nan)
      for layer in range(len(scene.layers)):
        mine = known & (first.layer.ravel() == layer)
        own[mine] = scene.places(layer, frame)[number[mine]]
      tracks.append(own)
      visible.append(known & self._visible(frame, own, first.layer.ravel()))
    size = (camera.num_frames, *shape)
    return (
      np.stack(tracks).reshape(*size, 3).astype(np.float32),
      np.stack(visible).reshape(size),
    )

  def _visible(self, frame, points, layer) -> np.ndarray:
    """Inside the picture, and nothing nearer is met by the rays around."""
    camera = self.scene.camera
    if frame == 0:
      return np.ones(len(points), bool)
    seen = _in_camera(camera, frame, points)
    fx, fy, cx, cy = camera.intrinsics
    with np.errstate(invalid="ignore", divide="ignore"):
      x = seen[:, 0] / seen[:, 2] * fx + cx
      y = seen[:, 1] / seen[:, 2] * fy + cy
      inside = (seen[:, 2] > 0) & (x >= 0) & (x < camera.width)
      inside &= (y >= 0) & (y < camera.height)
    sight = self.sight(camera, frame, 2)
    left = np.floor(np.where(inside, 2 * x - 0.5, 0)).astype(int)
    top = np.floor(np.where(inside, 2 * y - 0.5, 0)).astype(int)
    met = np.zeros(len(points), bool)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
      column = np.clip(left + right, 0, 2 * camera.width - 1)
      row = np.clip(top + down, 0, 2 * camera.height - 1)
      near = sight.depth[row, column] < np.inf
      with np.errstate(invalid="ignore"):
        near &= sight.depth[row, column] > seen[:, 2] * (1 - _SAME)
      met |= near | (sight.layer[row, column] == layer)
    return inside & met
