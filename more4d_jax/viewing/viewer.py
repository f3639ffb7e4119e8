"""Moving point clouds in the browser: a live viser server, or one page.

The page holds viser's client and the recorded scene; it plays by itself, with
a time slider, and needs neither network nor server.
"""

import contextlib
import html
import io
import json
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import viser

from more4d_jax import errors
from more4d_jax.viewing import clouds

PAGE_POSITIONS = 1_500_000  # Frames times points; about 15 MB of page.
SERVER_POSITIONS = 10_000_000

_BANDS = 4  # A viser cloud has one point size: near and far points differ.
_POINT = 1.3  # Size of a drawn point over the spacing of points.


def write_html(
  path: str | os.PathLike,
  scene: clouds.SceneLike,
  *,
  title: str = "4D scene",
  max_positions: int = PAGE_POSITIONS,
) -> clouds.Cloud:
  """Writes a self-contained page that plays the scene in a loop.

  Args:
    path: the file; its folder must exist.
    scene: its metadata is written into the page as `#more4d-metadata`,
      together with how many of its points the page shows.
    title: title of the page.
    max_positions: bound on frames times points; beyond it rows and columns
      are skipped evenly.

  Returns:
    The points that the page shows.

  Raises:
    UserError: the folder does not exist, or the scene has no usable point.
  """
  path = os.path.abspath(os.fspath(path))
  folder = os.path.dirname(path)
  if not os.path.isdir(folder):
    raise errors.UserError(
      f"{folder}: no such folder to write a page to; create it first"
    )
  cloud = clouds.from_scene(scene, max_positions)
  page = _recorded(cloud, scene.fps)
  page = _with_metadata(page, title, scene.metadata | {"page": cloud.summary()})
  handle, temporary = tempfile.mkstemp(suffix=".part", dir=folder)
  try:
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
      stream.write(page)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  finally:
    if os.path.exists(temporary):
      os.remove(temporary)
  return cloud


def start_server(
  scene: clouds.SceneLike,
  *,
  host: str = "127.0.0.1",
  port: int = 8080,
  max_positions: int = SERVER_POSITIONS,
) -> tuple[viser.ViserServer, "Player"]:
  """Serves the scene with a time slider; the next free port from `port` on."""
  cloud = clouds.from_scene(scene, max_positions)
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


def _recorded(cloud: clouds.Cloud, fps: float | int) -> str:
  """The client of viser with the scene as a recording of one loop."""
  server = _quiet_server("127.0.0.1", 8080)
  try:
    _aim(server, cloud)
    frames = _add_frames(server, cloud)
    recording = server.get_scene_serializer()
    recording.insert_sleep(1.0 / fps)
    for t in range(1, len(frames)):
      _switch(frames, t - 1, t)
      recording.insert_sleep(1.0 / fps)
    return recording.as_html()
  finally:
    with contextlib.redirect_stdout(io.StringIO()):
      server.stop()


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


def _with_metadata(page: str, title: str, metadata: dict[str, Any]) -> str:
  data = json.dumps(metadata).replace("<", "\\u003c")
  head = (
    f"<title>{html.escape(title)}</title>"
    '<script type="application/json" id="more4d-metadata">'
    f"{data}</script>"
  )
  return page.replace("<title>Viser</title>", "", 1).replace(
    "</head>", head + "</head>", 1
  )
