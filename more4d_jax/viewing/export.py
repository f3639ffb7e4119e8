"""Scenes as files of other programs."""

import os
from collections.abc import Callable, Mapping, Sequence

from more4d_jax import errors
from more4d_jax.viewing import clouds


def export(
  scene: clouds.SceneLike,
  targets: Sequence[str],
  directory: str | os.PathLike,
) -> dict[str, str]:
  """Writes a scene in several formats.

  Args:
    scene: the scene.
    targets: names from `TARGETS`.
    directory: made if it does not exist.

  Returns:
    Path written for each target.

  Raises:
    UserError: unknown target, or no usable point; nothing is written then.
  """
  check_targets(targets)
  clouds.from_scene(scene)  # A scene without points is refused here.
  os.makedirs(directory, exist_ok=True)
  folder = os.fspath(directory)
  return {name: TARGETS[name](scene, folder) for name in targets}


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


def _html(scene: clouds.SceneLike, directory: str) -> str:
  from more4d_jax.viewing import viewer

  path = os.path.join(directory, "scene.html")
  viewer.write_html(path, scene)
  return path


def _ply(scene: clouds.SceneLike, directory: str) -> str:
  """One binary PLY file per frame, every point of the scene in it."""
  import trimesh

  cloud = clouds.from_scene(scene)
  folder = os.path.join(directory, "ply")
  os.makedirs(folder, exist_ok=True)
  for t, points in enumerate(cloud.positions):
    frame = trimesh.PointCloud(points, colors=cloud.colours)
    frame.export(os.path.join(folder, f"frame_{t:04d}.ply"))
  return folder


TARGETS: Mapping[str, Callable[[clouds.SceneLike, str], str]] = {
  "html": _html,
  "ply": _ply,
}
