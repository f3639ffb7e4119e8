"""`more4d export`: a scene to files of other programs."""

import pathlib

from more4d_jax import scene as scene_lib
from more4d_jax.viewing import export as export_lib


def export(scene: pathlib.Path, to: str, out: pathlib.Path) -> None:
  """Writes a scene in other formats.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    to: formats, separated by commas: html, ply.
    out: the folder to write to.
  """
  targets = [name.strip() for name in to.split(",") if name.strip()]
  export_lib.check_targets(targets)
  loaded = scene_lib.Scene.load(scene)
  for name, path in export_lib.export(loaded, targets, out).items():
    print(f"{name}: {path}")
