"""Scenes as files of other programs."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from more4d_jax import errors, track_files
from more4d_jax.viewing import clouds, formats, page


def export(
  scene: clouds.SceneLike,
  targets: Sequence[str],
  directory: str | os.PathLike,
  points: int | None = None,
) -> dict[str, str]:
  """Writes a scene in several formats.

  Args:
    scene: the scene.
    targets: names from `TARGETS`.
    directory: made if it does not exist.
    points: budget of points of each frame; all of them unless given. The page
      has a bound on its bytes besides.

  Returns:
    Path written for each target.

  Raises:
    UserError: unknown target, a budget below 1, or no usable point; nothing is
      written then.
  """
  check_targets(targets)
  if points is not None and points < 1:
    raise errors.UserError(f"expected --points of at least 1, found {points}")
  cloud = clouds.from_scene(scene)  # A scene without points is refused here.
  if points is not None:
    cloud = clouds.thinned(cloud, points)
  os.makedirs(directory, exist_ok=True)
  folder = os.fspath(directory)
  return {name: TARGETS[name](scene, cloud, folder) for name in targets}


def size_of(path: str | os.PathLike) -> int:
  """Bytes of a file, or of all files in a folder."""
  path = pathlib.Path(path)
  files = path.rglob("*") if path.is_dir() else [path]
  return sum(file.stat().st_size for file in files if file.is_file())


def check_targets(targets: Sequence[str]) -> None:
  """Raises UserError unless there are targets and all of them are known."""
  known = ", ".join(TARGETS)
  if not targets:
    raise errors.UserError(f"no export target given: choose from {known}")
  for name in targets:
    if name not in TARGETS:
      raise errors.UserError(
        f"unknown export target {name!r}: choose from {known}"
      )


def _html(scene: clouds.SceneLike, cloud: clouds.Cloud, directory: str) -> str:
  path = os.path.join(directory, "scene.html")
  page.write(path, scene, cloud)
  return path


def _ply(scene: clouds.SceneLike, cloud: clouds.Cloud, directory: str) -> str:
  """One binary PLY file per frame."""
  import trimesh

  folder = os.path.join(directory, "ply")
  os.makedirs(folder, exist_ok=True)
  for t, points in enumerate(cloud.positions):
    frame = trimesh.PointCloud(points, colors=cloud.colours)
    frame.export(os.path.join(folder, f"frame_{t:04d}.ply"))
  return folder


def _npz(scene: clouds.SceneLike, cloud: clouds.Cloud, directory: str) -> str:
  """The points alone: positions [T P 3], colours [P 3], spacing [P], fps."""
  path = os.path.join(directory, "points.npz")
  np.savez(
    path,
    positions=cloud.positions,
    colours=cloud.colours,
    spacing=cloud.spacing,
    fps=np.float32(scene.fps),
  )
  return path


def _splats(
  scene: clouds.SceneLike, cloud: clouds.Cloud, directory: str
) -> str:
  folder = os.path.join(directory, "3dgs")
  formats.write_splats(folder, cloud)
  return folder


def _glb(scene: clouds.SceneLike, cloud: clouds.Cloud, directory: str) -> str:
  path = os.path.join(directory, "scene.glb")
  formats.write_glb(path, cloud, scene.fps)
  return path


def _colmap(
  scene: clouds.SceneLike, cloud: clouds.Cloud, directory: str
) -> str:
  folder = os.path.join(directory, "colmap")
  formats.write_colmap(folder, cloud, scene.colours)
  return folder


def _tapvid3d(
  scene: clouds.SceneLike, cloud: clouds.Cloud, directory: str
) -> str:
  """The tracks as TAPVid-3D has them, seen by the first camera.

  The film shows what the points show; a hole is black.
  """
  path = os.path.join(directory, "tapvid3d.npz")
  visible = scene.visible.reshape(len(scene.visible), -1)[:, cloud.pixels]
  stay = np.eye(4, dtype=np.float32)[None]
  video, _ = scene.render(stay)
  track_files.write(
    path,
    track_files.Tracks(cloud.positions, visible),
    scene.intrinsics,
    track_files.pixel_queries(cloud.pixels, cloud.size[1]),
    video,
  )
  return path


TARGETS: Mapping[str, Callable[[clouds.SceneLike, clouds.Cloud, str], str]] = {
  "html": _html,
  "ply": _ply,
  "npz": _npz,
  "3dgs": _splats,
  "glb": _glb,
  "colmap": _colmap,
  "tapvid3d": _tapvid3d,
}
