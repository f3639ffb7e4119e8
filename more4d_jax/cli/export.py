"""`more4d export`: a scene to files of other programs."""

import pathlib

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.cli import lists, outputs
from more4d_jax.viewing import export as export_lib


def export(
  *,
  scene: pathlib.Path,
  to: lists.Words,
  out: pathlib.Path,
  points: int | None = None,
  edge_threshold: float = 0.05,
) -> None:
  """Writes a scene in other formats.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    to: formats: html, ply, npz, 3dgs, glb, colmap, tapvid3d; several as
      --to html ply.
    out: the folder to write to.
    points: budget of points of each frame, most of them at edges and on
      slanted surfaces; all of them when left out. A page is kept below 25 MB.
    edge_threshold: relative change of depth at which one surface ends and
      another begins; points between them go to one of them. 0 leaves every
      point where it is.
  """
  if not 0 <= edge_threshold < 10:
    raise errors.UserError(
      f"expected --edge-threshold of 0 to 10, found {edge_threshold:g}"
    )
  targets = lists.items(to, lambda name: name in export_lib.TARGETS, "--to")
  export_lib.check_targets(targets)
  outputs.check_folder(out)
  loaded = scene_lib.Scene.load(scene)
  loaded = loaded.on_surfaces(edge_threshold)
  for name, path in export_lib.export(loaded, targets, out, points).items():
    size = export_lib.size_of(path) / 1e6
    print(f"{name}: {path}, {size:.1f} MB")
