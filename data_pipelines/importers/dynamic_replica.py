"""Dynamic Replica: frame_annotations_SPLIT.jgz and what it points to.

The .jgz is gzipped JSON, one entry per frame and camera (`left`, `right`; the
left one is taken): `image`, `depth`, `trajectories` with paths relative to the
split's folder or to the root, `viewpoint` with R, T, focal_length,
principal_point, intrinsics_format. Trajectory files (.pth) hold `traj_3d_world`
[N 3], `traj_2d` [N >=2] and `verts_inds_vis` [N]; depth PNGs hold z as 16-bit
floats.

Conventions: PyTorch3D cameras, X_camera = X R + T with x left, y up, z
forward, and normalised device coordinates (ndc_isotropic, or
ndc_norm_image_bounds); metres.
"""

import functools
import json
import pathlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data_pipelines.importers import geometry, media, source_files
from data_pipelines.importers import scene as scene_lib
from more4d_jax import errors

ABOUT = "Dynamic Replica roots with frame_annotations_SPLIT.jgz"
_MAX_ANNOTATIONS = 4 << 30
_FLIP = np.diag([-1.0, -1.0, 1.0])
_FPS = 30.0


def units(paths: Sequence[str]) -> list[tuple[str, ...]]:
  """One unit per sequence: annotation file, its name and its left frames."""
  units = []
  for path in source_files.files(paths, (".jgz",)):
    sequences = defaultdict(list)
    for entry in _entries(path):
      if entry.get("camera_name", "left") == "left":
        sequences[str(entry.get("sequence_name"))].append(entry)
    units += [
      (str(path), name, json.dumps(frames))
      for name, frames in sorted(sequences.items())
    ]
  return units


def found(
  unit: tuple[str, ...], settings: scene_lib.Settings
) -> Iterator[scene_lib.Found]:
  """Yields the one scene of a sequence."""
  path, name, text = unit
  read = functools.partial(
    _read, pathlib.Path(path), name, json.loads(text), settings
  )
  yield scene_lib.Found(name, read)


def _entries(path: pathlib.Path) -> list[dict[str, Any]]:
  try:
    entries = json.loads(source_files.read_gzip(path, _MAX_ANNOTATIONS))
    return [dict(entry) for entry in entries]
  except (ValueError, TypeError) as error:
    raise errors.UserError(f"{path} is no gzipped JSON ({error})") from error


def _read(
  annotations: pathlib.Path,
  name: str,
  frames: list[dict[str, Any]],
  settings: scene_lib.Settings,
) -> scene_lib.Scene:
  frames = sorted(frames, key=lambda entry: int(entry["frame_number"]))
  split = annotations.stem.removeprefix("frame_annotations_")
  find = functools.partial(_find, annotations.parent, split)
  try:
    poses, intrinsics = _cameras(frames)
    images = [find(entry["image"]) for entry in frames]
    depths = [find(entry["depth"]) for entry in frames]
    scales = [entry["depth"].get("scale_adjustment", 1.0) for entry in frames]
    trajectories = [find(entry["trajectories"]) for entry in frames]
  except (KeyError, TypeError) as error:
    raise scene_lib.Refused(f"its annotations lack {error}") from error
  tracks, positions, visible = _tracks(trajectories, settings)

  def depth(numbers: Sequence[int]) -> np.ndarray:
    return np.stack(
      [
        media.read_depth_png(depths[n]).view(np.float16).astype(np.float32)
        * scales[n]
        for n in numbers
      ]
    )

  return scene_lib.Scene(
    name=name,
    caption="",
    source=f"Dynamic Replica {split}/{name}",
    licence="CC-BY-NC-4.0",
    fps=_FPS,
    frame_numbers=np.array([entry["frame_number"] for entry in frames]),
    frames=media.pictures(images),
    depth=depth,
    tracks=tracks,
    visible=visible,
    size=tuple(frames[0]["image"]["size"]),
    intrinsics=intrinsics,
    world_from_camera=poses,
    positions=np.where(visible[..., None], positions, np.nan),
  )


def _find(root: pathlib.Path, split: str, entry: dict) -> pathlib.Path:
  path = pathlib.PurePosixPath(entry["path"])
  if path.is_absolute() or ".." in path.parts:
    raise scene_lib.Refused(f"its annotations lead out of the source: {path}")
  for candidate in (root / split / path, root / path):
    if candidate.is_file():
      return candidate
  raise scene_lib.Refused(f"{path} is missing")


def _cameras(
  frames: list[dict[str, Any]],
) -> tuple[np.ndarray, np.ndarray]:
  """World from camera [T 4 4] and intrinsics [T 4]."""
  poses, intrinsics = [], []
  for entry in frames:
    view, (height, width) = entry["viewpoint"], entry["image"]["size"]
    half = np.array([width, height]) / 2
    layout = view.get("intrinsics_format", "ndc_isotropic").lower()
    if layout not in ("ndc_isotropic", "ndc_norm_image_bounds"):
      raise scene_lib.Refused(f"unknown intrinsics_format {layout!r}")
    scale = half if layout == "ndc_norm_image_bounds" else half.min()
    focal = np.array(view["focal_length"]) * scale
    centre = half - np.array(view["principal_point"]) * scale
    intrinsics.append([*focal, *centre])
    rotation = _FLIP @ np.array(view["R"], np.float64).T
    position = _FLIP @ np.array(view["T"], np.float64)
    poses.append(geometry.rigid(rotation[None], position[None])[0])
  return geometry.inverse(np.stack(poses)), np.array(intrinsics)


def _tracks(
  paths: list[pathlib.Path], settings: scene_lib.Settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Tracks [T N 3], their 2D positions [T N 2], visible [T N]."""
  tracks, positions, visible = [], [], []
  for path in paths:
    source_files.check_size(path, settings.max_member_bytes)
    content = source_files.unpickled(path)
    names = ("traj_3d_world", "traj_2d", "verts_inds_vis")
    media.need(content, names, path.name)
    tracks.append(np.asarray(content["traj_3d_world"], np.float64))
    positions.append(np.asarray(content["traj_2d"], np.float64)[..., :2])
    visible.append(np.asarray(content["verts_inds_vis"]).astype(bool))
  if len({array.shape for array in tracks}) > 1:
    raise scene_lib.Refused("the number of its points changes between frames")
  return np.stack(tracks), np.stack(positions), np.stack(visible)
