"""PointOdyssey: folders with anno.npz, rgbs/*.jpg and depths/*.png.

`anno.npz` (`annot.npz`, `annotations.npz` in older releases): `trajs_2d`
[T N 2], `trajs_3d` [T N 3] world, `visibs` and `valids` [T N], `intrinsics`
[T 3 3], `extrinsics` [T 4 4] camera from world; depth PNGs hold z: value /
65535 * 1000 m.

Conventions: metres; pixels count from the picture's corner. Two releases
differ: newer files hold OpenCV cameras, version 1.0 Blender cameras and a
world turned by 90 degrees. The file's own 2D tracks decide which it is; where
neither fits the scene is refused.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.importers import geometry, media, source_files
from data_pipelines.importers import scene as scene_lib

ABOUT = "PointOdyssey scene folders with anno.npz, rgbs and depths"
_NAMES = ("anno.npz", "annot.npz", "annotations.npz")
_KEYS = ("trajs_2d", "trajs_3d", "intrinsics", "extrinsics")
_DEPTH_UNIT = 1000.0 / 65535.0
_FPS = 30.0
_SURE = 2.0  # Pixels, median, of the convention that fits.
_TURNED = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def units(paths: Sequence[str]) -> list[tuple[str, ...]]:
  """One unit per scene folder."""
  folders = source_files.folders(paths, _NAMES)
  return list(zip(map(str, folders), source_files.labels(folders)))


def _read(
  path: pathlib.Path, name: str, settings: scene_lib.Settings
) -> scene_lib.Scene:
  anno = next(path / name for name in _NAMES if (path / name).is_file())
  arrays = media.read_npz(anno, settings.max_member_bytes, required=_KEYS)
  tracks, positions = arrays["trajs_3d"], arrays["trajs_2d"]
  frames, count = tracks.shape[:2]
  visible = arrays.get("visibs", arrays.get("visibilities"))
  if visible is None:
    raise scene_lib.Refused(f"{anno.name} has no visibs")
  shapes = {
    "trajs_3d": (frames, count, 3),
    "trajs_2d": (frames, count, 2),
    "visible": (frames, count),
    "intrinsics": (frames, 3, 3),
    "extrinsics": (frames, 4, 4),
  }
  media.same_shapes({**arrays, "visible": visible}, shapes, anno.name)
  known = np.asarray(arrays.get("valids", np.ones((frames, count)))) > 0
  visible = (visible > 0) & known
  films = sorted((path / "rgbs").glob("rgb_*.jpg"))
  depths = sorted((path / "depths").glob("depth_*.png"))
  if len(films) < frames:
    raise scene_lib.Refused(f"{len(films)} pictures for {frames} frames")
  intrinsics = geometry.from_matrix(arrays["intrinsics"], centre=0.5)
  return scene_lib.Scene(
    name=name,
    caption=source_files.caption(path / "caption.txt") or "",
    source=f"PointOdyssey {path.parent.name}/{path.name}",
    licence="CC-BY-NC-SA-4.0",
    fps=_FPS,
    frame_numbers=np.arange(frames),
    frames=media.pictures(films),
    depth=_depth(depths) if len(depths) >= frames else None,
    tracks=np.where(known[..., None], tracks, np.nan),
    visible=visible,
    size=media.read_picture(films[0]).shape[:2],
    intrinsics=intrinsics,
    world_from_camera=_poses(arrays, visible, intrinsics),
    positions=np.where(visible[..., None], positions, np.nan),
  )


found = source_files.one_per_unit(_read)


def _depth(paths: list[pathlib.Path]) -> scene_lib.Frames:
  return lambda numbers: np.stack(
    [media.read_depth_png(paths[n]) * _DEPTH_UNIT for n in numbers]
  )


def _poses(
  arrays: dict[str, np.ndarray], visible: np.ndarray, intrinsics: np.ndarray
) -> np.ndarray:
  """World from camera by the convention that meets the 2D tracks."""
  extrinsics = arrays["extrinsics"].astype(np.float64)
  candidates = {
    "OpenCV": extrinsics,
    "Blender": geometry.BLENDER @ extrinsics @ _TURNED,
  }
  errors = {}
  for name, camera_from_world in candidates.items():
    own = geometry.transform(arrays["trajs_3d"], camera_from_world)
    off = geometry.project(own, intrinsics) - arrays["trajs_2d"]
    seen = visible & (own[..., 2] > 0)
    if seen.sum() >= 0.9 * visible.sum() > 0:
      errors[name] = float(np.median(np.linalg.norm(off, axis=-1)[seen]))
  best = min(errors, key=errors.__getitem__, default=None)
  if best is None or not errors[best] <= _SURE:
    raise scene_lib.Refused(
      f"neither camera convention meets its 2D tracks (median pixels off: "
      f"{ {name: round(error, 1) for name, error in errors.items()} })"
    )
  return geometry.inverse(candidates[best])
