"""Results of TAPIP3D and SpatialTrackerV2: one .npz per video.

Keys `video` ([T H W 3] uint8, or [T 3 H W] float of 0..1 or 0..255), `depths`
[T H W], `intrinsics` [T 3 3], `extrinsics` [T 4 4] camera from world, `coords`
[T N 3] world, `visibs` [T N]; `query_points` are not needed.

Conventions: OpenCV axes (x right, y down, z forward); pixel centres at whole
numbers, so that half a pixel is added to the principal point; the unit is that
of the depth network. Cameras are estimated.
"""

import pathlib

import numpy as np

from data_pipelines.importers import geometry, media, source_files
from data_pipelines.importers import scene as scene_lib

ABOUT = "result .npz files of TAPIP3D or SpatialTrackerV2"
_KEYS = ("video", "intrinsics", "extrinsics", "coords", "visibs")
_MOSTLY = 0.5  # A soft visibility above this is seen.


def _read(
  path: pathlib.Path, name: str, settings: scene_lib.Settings
) -> scene_lib.Scene:
  arrays = media.read_npz(
    path, settings.max_member_bytes, required=_KEYS, skip=("query_points",)
  )
  video = _video(arrays["video"])
  coords, visible = arrays["coords"], arrays["visibs"]
  if visible.ndim == 3 and visible.shape[-1] == 1:
    visible = visible[..., 0]
  frames = len(coords)
  shapes = {
    "video": (frames, *video.shape[1:]),
    "coords": (frames, coords.shape[1], 3),
    "visibs": (frames, coords.shape[1]),
    "intrinsics": (frames, 3, 3),
    "extrinsics": (frames, *arrays["extrinsics"].shape[1:]),
  }
  there = {**arrays, "video": video, "visibs": visible}
  media.same_shapes(there, shapes, path.name)
  depths = arrays.get("depths")
  return scene_lib.Scene(
    name=name,
    caption=source_files.caption(path.with_suffix(".txt")) or "",
    source=f"TAPIP3D or SpatialTrackerV2 {path.name}",
    licence="unknown: that of the video",
    fps=settings.fps,
    frame_numbers=np.arange(frames),
    frames=scene_lib.held(video),
    depth=None if depths is None else scene_lib.held(depths),
    tracks=coords,
    visible=visible > _MOSTLY,
    size=video.shape[1:3],
    intrinsics=geometry.from_matrix(arrays["intrinsics"], centre=0.0),
    world_from_camera=geometry.inverse(geometry.as_poses(arrays["extrinsics"])),
    cameras="estimated",
  )


units, found = source_files.one_per_file((".npz",), _read)


def _video(video: np.ndarray) -> np.ndarray:
  if video.ndim == 4 and video.shape[1] == 3 and video.shape[-1] != 3:
    video = np.moveaxis(video, 1, -1)
  if video.ndim != 4 or video.shape[-1] != 3:
    raise scene_lib.Refused(
      f"video is {video.shape}; expected [T H W 3] or [T 3 H W]"
    )
  if video.dtype == np.uint8:
    return video
  scale = 255.0 if video.max(initial=0) <= 1.0 else 1.0
  return np.clip(np.round(video * scale), 0, 255).astype(np.uint8)
