"""`more4d export`: a scene to files of other programs."""

import pathlib

from more4d_jax import scene as scene_lib
from more4d_jax.cli import lists, outputs
from more4d_jax.viewing import export as export_lib


def export(
  *,
  scene: pathlib.Path,
  to: lists.Words,
  out: pathlib.Path,
  points: int | None = None,
) -> None:
  """Writes a scene in other formats.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    to: formats: html, ply, npz, 3dgs, glb, colmap; several as --to html ply.
    out: the folder to write to.
    points: budget of points of each frame, evenly over the surfaces; all of
      them when left out. The page has a budget of its own.
  """
  targets = lists.items(to, lambda name: name in export_lib.TARGETS, "--to")
  export_lib.check_targets(targets)
  outputs.check_folder(out)
  loaded = scene_lib.Scene.load(scene)
  for name, path in export_lib.export(loaded, targets, out, points).items():
    size = export_lib.size_of(path) / 1e6
    print(f"{name}: {path}, {size:.1f} MB")
