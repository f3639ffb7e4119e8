"""`more4d view`: look at a scene in the browser."""

import dataclasses
import os
import pathlib
import tempfile

import numpy as np
from jaxtyping import Float

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.cli import coverage
from more4d_jax.geometry import camera_paths


def view(
  scene: pathlib.Path,
  *,
  host: str = "127.0.0.1",
  port: int = 8080,
  edge_threshold: float = 0.05,
) -> None:
  """Serves a scene to the browser, with a time slider, until interrupted.

  Camera paths are shown as frusta; they, and what the browser's own camera
  sees, are filmed and downloaded as mp4.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    host: address to serve at; 0.0.0.0 admits other machines.
    port: first port to try.
    edge_threshold: see `more4d export`.
  """
  if not 0 < port < 65536:
    raise errors.UserError(f"expected a port between 1 and 65535, found {port}")
  loaded = scene_lib.Scene.load(scene)

  from more4d_jax.viewing import viewer

  server, player = viewer.start_server(
    loaded.on_surfaces(edge_threshold), Films(loaded), host=host, port=port
  )
  print(f"{scene}: http://{host}:{server.get_port()} (Ctrl-C ends)", flush=True)
  try:
    while True:
      player.advance()
  finally:
    server.stop()


@dataclasses.dataclass(frozen=True)
class Films:
  """Films of a scene by the point renderer, for `viewing.viewer`."""

  scene: scene_lib.Scene
  names: tuple[str, ...] = tuple(camera_paths.NAMES)

  def poses(self, name: str) -> Float[np.ndarray, "T 4 4"]:
    """world_from_camera of a named path, in full."""
    return self.scene.camera_path(name).world_from_camera

  def film(self, poses: Float[np.ndarray, "T 4 4"], fov_y: float) -> bytes:
    """An mp4 in the scene's size, its holes filled from behind."""
    from more4d_jax.rendering import render_video
    from more4d_jax.viewing import video

    height, width = self.scene.size
    focal = height / 2 / np.tan(fov_y / 2)
    lens = np.asarray([focal, focal, width / 2, height / 2], np.float32)
    lenses = np.repeat(lens[None], len(poses), axis=0)
    path = camera_paths.CameraPath(poses, lenses, self.scene.size)
    options = render_video.RenderOptions(fill=True)
    colours, covered = self.scene.render(path, options)
    coverage.check(covered, self.scene, path, "this view", allow_empty=None)
    with tempfile.TemporaryDirectory() as folder:
      file = os.path.join(folder, "film.mp4")
      video.write_video(file, colours, self.scene.fps, min_side=256)
      return pathlib.Path(file).read_bytes()
