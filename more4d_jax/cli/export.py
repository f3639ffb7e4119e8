"""`more4d export`: a scene to files of other programs."""

import pathlib

from more4d_jax import scene as scene_lib
from more4d_jax.cli import lists, outputs
from more4d_jax.viewing import export as export_lib


def export(*, scene: pathlib.Path, to: lists.Words, out: pathlib.Path) -> None:
  """Writes a scene in other formats.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    to: formats: html, ply; several as --to html ply.
    out: the folder to write to.
  """
  targets = lists.items(to, lambda name: name in export_lib.TARGETS, "--to")
  export_lib.check_targets(targets)
  outputs.check_folder(out)
  loaded = scene_lib.Scene.load(scene)
  for name, path in export_lib.export(loaded, targets, out).items():
    print(f"{name}: {path}")
