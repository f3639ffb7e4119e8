"""A film with depth and 2D tracks beside it, as point trackers give them.

  NAME.mp4          the film
  NAME.depth.npy    [T H W] depth along z in metres, 0 or NaN where unknown
  NAME.tracks.npz   tracks [T N 2] or [T H W 2] pixels; visible, the same
                    without 2; intrinsics, and perhaps world_from_camera,
                    pixel_centre, licence, source, fps, caption as in `plain`
  NAME.txt          the caption, perhaps

`tracks` may have another size than the film: `tracks_size` [2] (height,
width) then says which picture its pixels and the intrinsics belong to. Chosen
points [T N 2] are lifted by the depth map where they are visible and unknown
elsewhere. Dense tracks need a position everywhere: while a point is hidden its
depth is interpolated in time between the frames that show it.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from data_pipelines.importers import lifting, media, plain, source_files
from data_pipelines.importers import scene as scene_lib

ABOUT = "NAME.mp4 with NAME.depth.npy and NAME.tracks.npz beside it"
_KEYS = ("tracks", "visible", "intrinsics")


def _read(
  path: pathlib.Path, name: str, settings: scene_lib.Settings
) -> scene_lib.Scene:
  for suffix in (".depth.npy", ".tracks.npz"):
    if not path.with_suffix(suffix).is_file():
      raise scene_lib.Refused(f"no {path.with_suffix(suffix).name} beside it")
  video, fps = media.read_video(path, settings.max_video_values)
  limit = settings.max_member_bytes
  depth = media.read_npy(path.with_suffix(".depth.npy"), limit)
  arrays = media.read_npz(
    path.with_suffix(".tracks.npz"), limit, required=_KEYS
  )
  frames = min(len(video), len(depth), len(arrays["tracks"]))
  size = tuple(map(int, arrays.get("tracks_size", video.shape[1:3])))
  if arrays["tracks"].ndim == 4:
    size = arrays["tracks"].shape[1:3]
  if depth.ndim != 3:
    raise scene_lib.Refused(f"depth is {depth.shape}; expected [T H W]")
  maps = media.nearest(depth[:frames], size).astype(np.float64)
  names = ("tracks", "visible", "world_from_camera")
  cut = {
    name: array[:frames] if name in names else array
    for name, array in arrays.items()
  }
  lifted = {
    **cut,
    "tracks": _lifted(cut, maps),
    "tracks_2d": cut["tracks"],
    "axes": np.array("each_camera"),
    "depth": maps,
  }
  film = media.resized(video[:frames], size)
  fps = float(arrays.get("fps", fps or settings.fps))
  return plain.scene_of(path, name, lifted, film, fps)


units, found = source_files.one_per_file((".mp4",), _read)


def _lifted(arrays: Mapping[str, np.ndarray], maps: np.ndarray) -> np.ndarray:
  """Positions in each frame's camera, the shape of `tracks` with 3."""
  tracks, visible = arrays["tracks"], arrays["visible"].astype(bool)
  if tracks.shape[-1] != 2 or visible.shape != tracks.shape[:-1]:
    raise scene_lib.Refused(
      f"tracks is {tracks.shape} and visible {visible.shape}; expected pixels "
      f"[T N 2] or [T H W 2] and the same without 2"
    )
  centre = float(arrays.get("pixel_centre", 0.5))
  points = lifting.lift(
    tracks.reshape(len(tracks), -1, 2) + (0.5 - centre),
    visible.reshape(len(tracks), -1),
    maps,
    plain.intrinsics_of(arrays["intrinsics"], centre, len(tracks)),
    everywhere=tracks.ndim == 4,
  )
  return points.reshape(*tracks.shape[:-1], 3)
