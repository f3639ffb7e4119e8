"""Anyone's own tracks: one .npz per scene, of this plain layout.

Needed:
  tracks       [T H W 3] (a path for every pixel of frame 0) or [T N 3] float
  visible      [T H W] or [T N] bool
  intrinsics   [4] (fx, fy, cx, cy), [3 3], or either with T before; pixels
  video        [T H W 3] uint8, unless NAME.mp4 lies beside the file

May be there:
  axes         "first_camera" (the default), "each_camera" or "world"
  world_from_camera  [T 4 4], needed for "world"; x right, y down, z forward
  pixel_centre 0.5 (the default) or 0.0: position of the first pixel's centre
  depth        [T H W] along z, 0 or NaN where unknown
  segments     [H W] of frame 0: 0 background, from 1 moving objects
  tracks_2d    [T N 2] or [T H W 2] pixels, to check the geometry with
  fps, caption, licence, source      scalars and texts; or NAME.txt beside it

Lengths are metres, or one unit throughout. Positions that are not finite are
unknown. `intrinsics` belongs to the grid of dense tracks, and to the video
otherwise.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from data_pipelines.importers import geometry, media, source_files
from data_pipelines.importers import scene as scene_lib

ABOUT = "plain .npz files with tracks, visible, intrinsics and video"
_KEYS = ("tracks", "visible", "intrinsics")
AXES = ("first_camera", "each_camera", "world")


def _read(
  path: pathlib.Path, name: str, settings: scene_lib.Settings
) -> scene_lib.Scene:
  arrays = media.read_npz(path, settings.max_member_bytes, required=_KEYS)
  video, fps = arrays.get("video"), settings.fps
  if video is None:
    film = path.with_suffix(".mp4")
    if not film.is_file():
      raise scene_lib.Refused(f"no video in it and no {film.name} beside it")
    video, fps = media.read_video(film, settings.max_video_values)
    fps = fps or settings.fps
  if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3:
    raise scene_lib.Refused(
      f"video is {video.dtype} {video.shape}; expected uint8 [T H W 3]"
    )
  return scene_of(path, name, arrays, video, float(arrays.get("fps", fps)))


units, found = source_files.one_per_file((".npz",), _read)


def scene_of(
  path: pathlib.Path,
  name: str,
  arrays: Mapping[str, np.ndarray],
  video: np.ndarray,
  fps: float,
) -> scene_lib.Scene:
  """The scene of arrays in the plain layout.

  Raises:
    Refused: shapes that contradict each other, or unknown axes.
  """
  tracks, grid = arrays["tracks"], None
  if tracks.ndim == 4:
    grid = tracks.shape[1:3]
  elif tracks.ndim != 3:
    raise scene_lib.Refused(
      f"tracks is {tracks.shape}; expected [T H W 3] or [T N 3]"
    )
  frames = min(len(tracks), len(video))
  notes = []
  if len(video) != len(tracks):
    notes.append(f"{len(video)} frames of video, {len(tracks)} of tracks")
  flat = (len(tracks), -1)
  lead = tracks.shape[:-1]
  shapes = {"tracks": (*lead, 3), "visible": lead}
  for key, shape in (
    ("tracks_2d", (*lead, 2)),
    ("world_from_camera", (len(tracks), 4, 4)),
  ):
    if key in arrays:
      shapes[key] = shape
  media.same_shapes(arrays, shapes, path.name)
  axes = _text(arrays, "axes", AXES[0])
  if axes not in AXES:
    raise scene_lib.Refused(f"axes is {axes!r}; expected one of {AXES}")
  poses = _poses(arrays, axes, len(tracks))
  centre = float(arrays.get("pixel_centre", 0.5))
  positions = arrays.get("tracks_2d")
  if positions is not None:
    positions = positions.reshape(*flat, 2)[:frames] + (0.5 - centre)
  depth = arrays.get("depth")
  return scene_lib.Scene(
    name=name,
    caption=_text(arrays, "caption", "")
    or source_files.caption(path.with_suffix(".txt"))
    or "",
    source=_text(arrays, "source", path.name),
    licence=_text(arrays, "licence", "unknown"),
    fps=fps,
    frame_numbers=np.arange(frames),
    frames=scene_lib.held(video),
    depth=None if depth is None else scene_lib.held(depth),
    tracks=tracks.reshape(*flat, 3)[:frames],
    visible=arrays["visible"].reshape(flat)[:frames].astype(bool),
    size=grid or video.shape[1:3],
    grid=grid,
    intrinsics=intrinsics_of(arrays["intrinsics"], centre, frames),
    axes="camera" if axes == "each_camera" else "world",
    world_from_camera=None if poses is None else poses[:frames],
    cameras="unknown" if poses is None else "exact",
    positions=positions,
    segments=arrays.get("segments"),
    notes=tuple(notes),
  )


def _poses(
  arrays: Mapping[str, np.ndarray], axes: str, frames: int
) -> np.ndarray | None:
  """World from camera; None where each frame's camera is unknown."""
  if "world_from_camera" in arrays:
    poses = geometry.as_poses(arrays["world_from_camera"])
    if axes == "first_camera":  # The world of the tracks is that camera's.
      return geometry.inverse(poses[:1]) @ poses
    return poses
  if axes == "world":
    raise scene_lib.Refused(
      "axes is 'world', but there is no world_from_camera"
    )
  if axes == "each_camera":
    return None
  return np.tile(np.eye(4), (frames, 1, 1))


def intrinsics_of(array: np.ndarray, centre: float, frames: int) -> np.ndarray:
  """The [4] or [T 4] of a matrix or four numbers, centres at + 0.5."""
  if array.shape[-2:] == (3, 3):
    found = geometry.from_matrix(array, centre)
  elif array.shape[-1:] == (4,):
    found = array + np.array([0, 0, 0.5 - centre, 0.5 - centre])
  else:
    raise scene_lib.Refused(
      f"intrinsics is {array.shape}; expected 4 numbers or a 3x3 matrix"
    )
  if found.ndim > 2 or (found.ndim == 2 and len(found) < frames):
    raise scene_lib.Refused(f"intrinsics is {array.shape} for {frames} frames")
  return found.astype(np.float64) if found.ndim == 1 else found[:frames]


def _text(arrays: Mapping[str, np.ndarray], name: str, default: str) -> str:
  return str(arrays[name]) if name in arrays else default
