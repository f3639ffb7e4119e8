"""Kubric MOVi-C to MOVi-F: the tfds TFRecord files, read without tensorflow.

Features used (movi_f of Kubric): `video`, `segmentations`, `depth` (PNG
strings, depth 16 bits over `metadata/depth_range`, the distance to the camera,
not z),
`camera/{focal_length,sensor_width,positions,quaternions}`,
`instances/{positions,quaternions}` and, to check with, `instances/bboxes_3d`.

Everything in MOVi is rigid, so each pixel of frame 0 has an exact path: its
point (from distance and camera) moves with its object, by the object's poses.
A point is visible where the depth map of that frame shows nothing nearer (1 %)
in the four pixels around it and one of them is of its object.

Conventions: Blender cameras (x right, y up, looking along -z), quaternions
(w, x, y, z), Kubric's units (metres by design), 12 frames a second, square
pixels, principal point in the middle. 24 frames give 21, that is 4k + 1.
"""

import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.importers import geometry, media, source_files, tfrecord
from data_pipelines.importers import scene as scene_lib

ABOUT = "tfds TFRecord files of Kubric MOVi-C, -D, -E or -F"
_FPS = 12.0
_NEARER = 0.99
_RIGID = 0.02  # Of a box's size: how far its corners may miss the motion.
_KEYS = (
  "video",
  "segmentations",
  "depth",
  "metadata/depth_range",
  "camera/focal_length",
  "camera/sensor_width",
  "camera/positions",
  "camera/quaternions",
  "instances/positions",
  "instances/quaternions",
)


def units(paths: Sequence[str]) -> list[tuple[str, ...]]:
  """One unit per TFRecord file."""
  found = [p for p in source_files.files(paths, ("",)) if ".tfrecord" in p.name]
  names = [path.name.replace(".tfrecord", "") for path in found]
  return list(zip(map(str, found), source_files.labels(found, names)))


def found(
  unit: tuple[str, ...], settings: scene_lib.Settings
) -> Iterator[scene_lib.Found]:
  """Yields the scenes of a file."""
  path, label = pathlib.Path(unit[0]), unit[1]
  try:
    payloads = tfrecord.entries(path, settings.max_member_bytes)
    for number, payload in enumerate(payloads):
      name = f"{label}-{number:05d}"
      read = functools.partial(
        source_files.refuse, "its checksum differs: the entry is damaged"
      )
      if payload is not None:
        read = functools.partial(scene_of, payload, name)
      yield scene_lib.Found(name, read)
  except tfrecord.DamagedError as error:
    reason = f"the file is damaged or cut off ({error})"
    yield scene_lib.Found(
      path.name, functools.partial(source_files.refuse, reason)
    )


def scene_of(payload: bytes, name: str) -> scene_lib.Scene:
  """The scene of a serialised example."""
  features = tfrecord.features(payload)
  media.need(features, _KEYS, "its example")
  video = np.stack([media.read_picture(png) for png in features["video"]])
  frames, height, width = video.shape[:3]
  segments = _maps(features["segmentations"], video.shape[:3])
  low, high = features["metadata/depth_range"]
  distance = _maps(features["depth"], video.shape[:3]) / 65535.0
  distance = distance * (high - low) + low
  intrinsics = _intrinsics(features, height, width)
  world_from_camera = _camera(features, frames)
  objects = _objects(features, frames)
  if segments.max() > len(objects):
    raise scene_lib.Refused(
      f"segment {segments.max()} of {len(objects)} objects"
    )
  rays = geometry.unproject(
    geometry.pixel_grid(height, width).reshape(1, -1, 2),
    np.ones((1, height * width)),
    intrinsics,
  )[0]
  lengths = np.linalg.norm(rays, axis=-1)
  first = rays * (distance[0].ravel() / lengths)[:, None]
  world = geometry.transform(first[None], world_from_camera[:1])[0]
  tracks = _move(world, segments[0].ravel(), objects)
  own = geometry.transform(tracks, geometry.inverse(world_from_camera))
  return scene_lib.Scene(
    name=name,
    caption=_caption(features),
    source=f"Kubric MOVi {_text(features, 'metadata/video_name')}".strip(),
    licence="Apache-2.0 (Kubric), CC-BY-4.0 (scanned objects)",
    fps=_FPS,
    frame_numbers=np.arange(frames),
    frames=scene_lib.held(video),
    depth=scene_lib.held(distance / lengths.reshape(height, width)),
    tracks=tracks,
    visible=_visible(own, segments, distance, intrinsics),
    size=(height, width),
    grid=(height, width),
    intrinsics=intrinsics,
    world_from_camera=world_from_camera,
    segments=segments[0],
  )


def _maps(pngs: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
  maps = np.stack([media.read_depth_png(png) for png in pngs])
  if maps.shape != shape:
    raise scene_lib.Refused(f"maps are {maps.shape}; expected {shape}")
  return maps


def _intrinsics(features: dict, height: int, width: int) -> np.ndarray:
  focal = features["camera/focal_length"][0] / features["camera/sensor_width"]
  return np.array([*[float(focal[0]) * width] * 2, width / 2, height / 2])


def _camera(features: dict, frames: int) -> np.ndarray:
  """World from our camera, [T 4 4]."""
  try:
    position = features["camera/positions"].reshape(frames, 3)
    turn = features["camera/quaternions"].reshape(frames, 4)
  except ValueError as error:
    raise scene_lib.Refused(f"camera poses: {error}") from error
  rotation = geometry.rotations(turn.astype(np.float64))
  return geometry.rigid(rotation, position) @ geometry.BLENDER


def _objects(features: dict, frames: int) -> np.ndarray:
  """World from object, [objects T 4 4]; their boxes must move alike."""
  try:
    position = features["instances/positions"].reshape(-1, frames, 3)
    turn = features["instances/quaternions"].reshape(-1, frames, 4)
    count = len(position)
    boxes = features.get("instances/bboxes_3d", np.zeros(0))
    boxes = boxes.reshape(count, frames, -1, 3).astype(np.float64)
  except ValueError as error:
    raise scene_lib.Refused(f"object poses: {error}") from error
  rotation = geometry.rotations(turn.astype(np.float64))
  poses = np.stack([geometry.rigid(*pair) for pair in zip(rotation, position)])
  if boxes.size:
    local = np.stack(
      [geometry.transform(b, geometry.inverse(p)) for b, p in zip(boxes, poses)]
    )
    size = np.ptp(local[:, 0], axis=1).max(-1)
    off = np.abs(local - local[:, :1]).max((1, 2, 3)) / size
    if off.max() > _RIGID:
      raise scene_lib.Refused(
        f"object {off.argmax()} is not rigid: its box misses its poses by "
        f"{100 * off.max():.0f} % of its size"
      )
  return poses


def _move(
  world: np.ndarray, segment: np.ndarray, objects: np.ndarray
) -> np.ndarray:
  """Paths [T N 3] of points [N 3] that belong to segments [N]."""
  frames = objects.shape[1]
  tracks = np.repeat(world[None], frames, 0)
  for number, poses in enumerate(objects, 1):
    mine = segment == number
    motion = poses @ geometry.inverse(poses[:1])
    points = np.repeat(world[None, mine], frames, 0)
    tracks[:, mine] = geometry.transform(points, motion)
  return tracks


def _visible(
  own: np.ndarray,
  segments: np.ndarray,
  distance: np.ndarray,
  intrinsics: np.ndarray,
) -> np.ndarray:
  """[T N]: nothing nearer in the frame's own depth map."""
  frames, height, width = distance.shape
  mine = segments[0].ravel()
  visible = np.ones((frames, len(mine)), bool)
  pixels = geometry.project(own, intrinsics)
  for t in range(1, frames):
    inside = (own[t, :, 2] > 0) & (pixels[t] >= 0).all(-1)
    inside &= (pixels[t] < [width, height]).all(-1)
    corner = np.floor(np.where(inside[:, None], pixels[t], 0) - 0.5)
    farthest, same = np.zeros(len(mine)), np.zeros(len(mine), bool)
    for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
      cell = np.clip(corner + step, 0, [width - 1, height - 1]).astype(int)
      columns, rows = cell.T
      farthest = np.maximum(farthest, distance[t, rows, columns])
      same |= segments[t, rows, columns] == mine
    away = np.linalg.norm(own[t], axis=-1)
    visible[t] = inside & same & (farthest >= _NEARER * away)
  return visible


def _caption(features: dict) -> str:
  thrown = features.get("instances/is_dynamic", np.zeros(0)).sum()
  count = len(features.get("instances/is_dynamic", ()))
  if not count:
    return ""
  return (
    f"{int(thrown)} objects are thrown onto {count - int(thrown)} that lie on "
    f"the ground"
  )


def _text(features: dict, name: str) -> str:
  return b"".join(features.get(name, [])).decode(errors="replace")
