"""TAPVid-3D: one .npz per clip (its README and its generators).

Keys `images_jpeg_bytes` (T JPEG strings), `tracks_XYZ` [T N 3] metres in each
frame's camera, `visibility` [T N], `fx_fy_cx_cy` [4], sometimes
`extrinsics_w2c` [T 4 4], `queries_xyt` [N 3]. The README's own names
`tracks_xyz` and `intrinsics` are accepted as well.

Conventions: OpenCV axes, metres; pixels count from the picture's corner, so
that centres lie at + 0.5 as ours. Without `extrinsics_w2c` the tracks stay in
each frame's camera.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.importers import geometry, media, source_files
from data_pipelines.importers import scene as scene_lib

ABOUT = "TAPVid-3D .npz files"
_LICENCE = "CC-BY-4.0 annotations; videos: terms of ADT, Waymo, Panoptic Studio"
_FPS = 30.0
_OTHER_NAMES = {"tracks_xyz": "tracks_XYZ", "intrinsics": "fx_fy_cx_cy"}
_KEYS = ("images_jpeg_bytes", "tracks_XYZ", "visibility", "fx_fy_cx_cy")


def _read(
  path: pathlib.Path, name: str, settings: scene_lib.Settings
) -> scene_lib.Scene:
  arrays = media.read_npz(path, settings.max_member_bytes)
  arrays = {_OTHER_NAMES.get(key, key): array for key, array in arrays.items()}
  media.need(arrays, _KEYS, path.name)
  jpegs, tracks = arrays["images_jpeg_bytes"], arrays["tracks_XYZ"]
  frames = len(jpegs)
  shapes = {
    "tracks_XYZ": (frames, tracks.shape[1], 3),
    "visibility": (frames, tracks.shape[1]),
    "fx_fy_cx_cy": (4,),
  }
  poses = None
  if "extrinsics_w2c" in arrays:
    shapes["extrinsics_w2c"] = (frames, *arrays["extrinsics_w2c"].shape[1:])
  media.same_shapes(arrays, shapes, path.name)
  if "extrinsics_w2c" in arrays:
    poses = geometry.inverse(geometry.as_poses(arrays["extrinsics_w2c"]))
  first = media.read_picture(bytes(jpegs[0]))

  def pictures(numbers: Sequence[int]) -> np.ndarray:
    return np.stack([media.read_picture(bytes(jpegs[n])) for n in numbers])

  return scene_lib.Scene(
    name=name,
    caption=source_files.caption(path.with_suffix(".txt")) or "",
    source=f"TAPVid-3D {path.parent.name}/{path.name}",
    licence=_LICENCE,
    fps=_FPS,
    frame_numbers=np.arange(frames),
    frames=pictures,
    tracks=tracks,
    visible=arrays["visibility"].astype(bool),
    size=first.shape[:2],
    intrinsics=arrays["fx_fy_cx_cy"].astype(np.float64),
    axes="camera",
    world_from_camera=poses,
    cameras="exact" if poses is not None else "unknown",
  )


units, found = source_files.one_per_file((".npz",), _read)
