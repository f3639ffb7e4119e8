"""`more4d view`: look at a scene in the browser."""

import pathlib

from more4d_jax import errors
from more4d_jax import scene as scene_lib


def view(
  scene: pathlib.Path, *, host: str = "127.0.0.1", port: int = 8080
) -> None:
  """Serves a scene to the browser, with a time slider, until interrupted.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    host: address to serve at; 0.0.0.0 admits other machines.
    port: first port to try.
  """
  if not 0 < port < 65536:
    raise errors.UserError(f"expected a port between 1 and 65535, found {port}")
  loaded = scene_lib.Scene.load(scene)

  from more4d_jax.viewing import viewer

  server, player = viewer.start_server(loaded, host=host, port=port)
  print(f"{scene}: http://{host}:{server.get_port()} (Ctrl-C ends)", flush=True)
  try:
    while True:
      player.advance()
  finally:
    server.stop()
