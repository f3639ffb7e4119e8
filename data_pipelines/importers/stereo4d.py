"""Stereo4D: annotations as .npz, films cut from VR180 videos by its tools.

Keys `camera2world` [T 3 4], `timestamps` [T], and ragged tracks:
`track_lengths` [N], `track_indices` (frames) and `track_coordinates` [sum 3]
(world). The film
`<name>-left_rectified.mp4` (60 degrees wide, square) lies beside the file or in
the folder of videos; without it the clip is refused.

Conventions: OpenCV axes, metres, principal point in the middle of the picture.
A track is known in the frames it lists, and counts as seen there.
"""

import math
import pathlib

import numpy as np

from data_pipelines.importers import geometry, media, source_files
from data_pipelines.importers import scene as scene_lib

ABOUT = "Stereo4D .npz files with NAME-left_rectified.mp4 beside them"
_FIELD_OF_VIEW = math.radians(60)
_KEYS = (
  "camera2world",
  "track_lengths",
  "track_indices",
  "track_coordinates",
)


def _read(
  path: pathlib.Path, name: str, settings: scene_lib.Settings
) -> scene_lib.Scene:
  arrays = media.read_npz(path, settings.max_member_bytes, required=_KEYS)
  poses = geometry.as_poses(arrays["camera2world"])
  film, fps = media.read_video(
    _film(path, settings.videos), settings.max_video_values
  )
  notes = []
  frames = min(len(poses), len(film))
  if len(film) != len(poses):
    notes.append(f"{len(film)} frames of film, {len(poses)} cameras")
  tracks = _tracks(arrays, len(poses))[:frames]
  height, width = film.shape[1:3]
  focal = width / 2 / math.tan(_FIELD_OF_VIEW / 2)
  return scene_lib.Scene(
    name=name,
    caption=source_files.caption(path.with_suffix(".txt")) or "",
    source=f"Stereo4D {path.stem}",
    licence="CC-BY-4.0 annotations; video: its YouTube page",
    fps=fps or settings.fps,
    frame_numbers=np.arange(frames),
    frames=scene_lib.held(film[:frames]),
    tracks=tracks,
    visible=np.isfinite(tracks).all(-1),
    size=(height, width),
    intrinsics=np.array([focal, focal, width / 2, height / 2]),
    world_from_camera=poses[:frames],
    cameras="estimated",
    notes=tuple(notes),
  )


units, found = source_files.one_per_file((".npz",), _read)


def _film(path: pathlib.Path, videos: str | None) -> pathlib.Path:
  name = f"{path.stem}-left_rectified.mp4"
  folders = [path.parent] if videos is None else [pathlib.Path(videos)]
  for folder in folders:
    for film in (folder / name, folder / path.stem / name):
      if film.is_file():
        return film
  raise scene_lib.Refused(
    f"no {name}; Stereo4D's rectify tool cuts it from the VR180 video"
  )


def _tracks(arrays: dict[str, np.ndarray], frames: int) -> np.ndarray:
  """[T N 3], NaN where a track does not list the frame."""
  lengths = arrays["track_lengths"].astype(np.int64).ravel()
  indices = arrays["track_indices"].astype(np.int64).ravel()
  coordinates = arrays["track_coordinates"]
  total = int(lengths.sum())
  if (
    not (len(indices) == len(coordinates) == total)
    or (lengths < 0).any()
    or (total and not 0 <= indices.min() <= indices.max() < frames)
  ):
    raise scene_lib.Refused(
      f"its ragged tracks contradict each other: lengths sum to {total}, "
      f"{len(indices)} indices, {len(coordinates)} coordinates, {frames} frames"
    )
  tracks = np.full((frames, len(lengths), 3), np.nan)
  tracks[indices, np.repeat(np.arange(len(lengths)), lengths)] = coordinates
  return tracks
