"""`more4d camera`: a path of a scene to a camera file of any program."""

import pathlib
from typing import Literal

from more4d_jax import scene as scene_lib
from more4d_jax.cli import film_flags, outputs
from more4d_jax.geometry import camera_paths
from more4d_jax.geometry.camera_files import formats
from more4d_jax.geometry.camera_files import path as path_lib


def camera(
  *,
  scene: pathlib.Path,
  camera: str,
  out: pathlib.Path,
  to: Literal[tuple(formats.FORMATS)] = "json",
  film: film_flags.FilmFlags = film_flags.DEFAULT,
) -> None:
  """Writes the camera path of a film, with its intrinsics.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    camera: name of a path, or a camera file of any format.
    out: the file to write; a folder for COLMAP models.
    to: format of the file.
    film: how the scene is filmed.
  """
  film_flags.check(film)
  camera_paths.check(camera)
  outputs.check_folder(out if to.startswith("colmap") else out.parent)
  filmed = film_flags.timed(scene_lib.Scene.load(scene), film)
  path, _ = film_flags.planned(filmed, camera, film)
  if path.intrinsics is None:
    own = filmed.intrinsics[None].repeat(filmed.num_frames, axis=0)
    path = path_lib.CameraPath(path.world_from_camera, own, filmed.size)
  out.absolute().parent.mkdir(parents=True, exist_ok=True)
  formats.save(out, path, to)
  print(f"{out}: {filmed.num_frames} poses as {to}")
