"""Moving point clouds in the browser: a live viser server."""

import contextlib
import io
import time
from collections.abc import Sequence

import numpy as np
import viser

from more4d_jax.viewing import clouds

SERVER_POSITIONS = 10_000_000

_BANDS = 4  # A viser cloud has one point size: near and far points differ.
_POINT = 1.3  # Size of a drawn point over the spacing of points.


def start_server(
  scene: clouds.SceneLike,
  *,
  host: str = "127.0.0.1",
  port: int = 8080,
  max_positions: int = SERVER_POSITIONS,
) -> tuple[viser.ViserServer, "Player"]:
  """Serves the scene with a time slider; the next free port from `port` on."""
  cloud = clouds.from_scene(scene)
  cloud = clouds.thinned(cloud, max(1, max_positions // len(cloud.positions)))
  server = _quiet_server(host, port)
  return server, Player(server, cloud, scene.fps)


class Player:
  """Time slider, play and speed of a live viewer."""

  def __init__(
    self, server: viser.ViserServer, cloud: clouds.Cloud, fps: float | int
  ):
    _aim(server, cloud)
    self._frames = _add_frames(server, cloud)
    self._shown = 0
    self._time = server.gui.add_slider(
      "frame", min=0, max=len(self._frames) - 1, step=1, initial_value=0
    )
    self._play = server.gui.add_checkbox("play", initial_value=True)
    self._fps = server.gui.add_slider(
      "frames per second", min=1, max=60, step=1, initial_value=round(fps)
    )
    self._time.on_update(lambda _: self.show(int(self._time.value)))

  @property
  def shown(self) -> int:
    """The frame that is visible."""
    return self._shown

  def show(self, frame: int) -> None:
    """Makes one frame visible."""
    if frame != self._shown:
      _switch(self._frames, self._shown, frame)
      self._shown = frame

  def advance(self) -> None:
    """Waits for one frame's time, and shows the next one if playing."""
    time.sleep(1.0 / self._fps.value)
    if self._play.value:
      self._time.value = (self._shown + 1) % len(self._frames)
      self.show(int(self._time.value))


def _quiet_server(host: str, port: int) -> viser.ViserServer:
  """A server on the next free port that prints no banner of its own."""
  with contextlib.redirect_stdout(io.StringIO()):
    return viser.ViserServer(host=host, port=port, verbose=False)


def _aim(server: viser.ViserServer, cloud: clouds.Cloud) -> None:
  """The first camera: at the origin, y down, looking at the scene's depth."""
  server.scene.set_up_direction("-y")
  camera = server.initial_camera
  camera.position = (0.0, 0.0, 0.0)
  camera.look_at = (0.0, 0.0, float(cloud.centre[2]))
  camera.up = (0.0, -1.0, 0.0)
  camera.fov = cloud.fov_y
  camera.near = float(cloud.positions[..., 2].min().clip(1e-3)) / 10


def _add_frames(
  server: viser.ViserServer, cloud: clouds.Cloud
) -> list[list[viser.PointCloudHandle]]:
  """Clouds of every frame, by spacing; only those of frame 0 are visible."""
  edges = np.quantile(cloud.spacing, np.linspace(0, 1, _BANDS + 1)[1:-1])
  band = np.searchsorted(edges, cloud.spacing)
  frames = []
  for t, points in enumerate(cloud.positions):
    parts = []
    for b in np.unique(band):
      chosen = band == b
      parts.append(
        server.scene.add_point_cloud(
          f"/frame_{t:04d}/points_{b}",
          points[chosen],
          cloud.colours[chosen],
          point_size=_POINT * float(np.median(cloud.spacing[chosen])),
          point_shape="square",
          point_shading="flat",
          visible=t == 0,
        )
      )
    frames.append(parts)
  return frames


def _switch(
  frames: Sequence[Sequence[viser.PointCloudHandle]], old: int, new: int
) -> None:
  for part in frames[new]:
    part.visible = True
  for part in frames[old]:
    part.visible = False
