"""Moving point clouds in the browser: a live viser server."""

import contextlib
import io
import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import viser
from jaxtyping import Float
from scipy.spatial import transform

from more4d_jax import errors
from more4d_jax.viewing import clouds

SERVER_POSITIONS = 10_000_000

_BANDS = 4  # A viser cloud has one point size: near and far points differ.
_POINT = 1.3  # Size of a drawn point over the spacing of points.
_FRUSTA = 9  # Of a camera path, at most.
_NONE = "none"


@runtime_checkable
class Films(Protocol):
  """Camera paths and what films them; `cli.view` has one with the renderer."""

  names: Sequence[str]

  def poses(self, name: str) -> Float[np.ndarray, "T 4 4"]:
    """world_from_camera of a named path, one of each frame of the scene."""

  def film(self, poses: Float[np.ndarray, "T 4 4"], fov_y: float) -> bytes:
    """An mp4 of the scene by a camera with a vertical field of view, radians.

    Raises:
      UserError: if the camera sees nothing of the scene.
    """


def start_server(
  scene: clouds.SceneLike,
  films: Films | None = None,
  *,
  host: str = "127.0.0.1",
  port: int = 8080,
  max_positions: int = SERVER_POSITIONS,
) -> tuple[viser.ViserServer, "Player"]:
  """Serves the scene with a time slider; the next free port from `port` on.

  Args:
    scene: to show.
    films: adds camera paths and buttons that film; none unless given.
    host: address to serve at.
    port: first one to try.
    max_positions: bound on frames times points.
  """
  cloud = clouds.from_scene(scene)
  cloud = clouds.thinned(cloud, max(1, max_positions // len(cloud.positions)))
  server = _quiet_server(host, port)
  player = Player(server, cloud, scene)
  if films is not None:
    Camera(server, cloud, films)
  return server, player


class Player:
  """Photograph, time, play, speed and point size of a live viewer."""

  def __init__(
    self,
    server: viser.ViserServer,
    cloud: clouds.Cloud,
    scene: clouds.SceneLike,
  ):
    _aim(server, cloud)
    self._frames = _add_frames(server, cloud)
    self._sizes = [part.point_size for part in self._frames[0]]
    self._shown = 0
    gui = server.gui
    prompt = scene.metadata.get("prompt") or None
    gui.add_image(scene.colours, label=prompt, format="jpeg")
    self._time = gui.add_slider(
      "frame",
      min=0,
      max=max(len(self._frames) - 1, 1),
      step=1,
      initial_value=0,
      disabled=len(self._frames) == 1,
    )
    self._play = gui.add_checkbox("play", initial_value=True)
    self._fps = gui.add_slider(
      "frames per second",
      min=1,
      max=60,
      step=1,
      initial_value=min(max(round(scene.fps), 1), 60),
    )
    self._size = gui.add_slider(
      "point size", min=0.2, max=3.0, step=0.1, initial_value=1.0
    )
    self._time.on_update(lambda _: self.show(int(self._time.value)))
    self._size.on_update(lambda _: self.resize(self._size.value))

  @property
  def shown(self) -> int:
    """The frame that is visible."""
    return self._shown

  @property
  def point_sizes(self) -> list[float]:
    """Of the visible frame, metres."""
    return [part.point_size for part in self._frames[self._shown]]

  def show(self, frame: int) -> None:
    """Makes one frame visible."""
    if frame != self._shown:
      _switch(self._frames, self._shown, frame)
      self._shown = frame

  def resize(self, factor: float) -> None:
    """Draws points larger or smaller than they were at first."""
    for parts in self._frames:
      for part, size in zip(parts, self._sizes, strict=True):
        part.point_size = size * factor

  def advance(self) -> None:
    """Waits for one frame's time, and shows the next one if playing."""
    time.sleep(1.0 / self._fps.value)
    if self._play.value:
      self._time.value = (self._shown + 1) % len(self._frames)
      self.show(int(self._time.value))


class Camera:
  """Camera paths of a live viewer, and films of them and of the view."""

  def __init__(
    self, server: viser.ViserServer, cloud: clouds.Cloud, films: Films
  ):
    self._server, self._cloud, self._films = server, cloud, films
    self._drawn: list[viser.SceneNodeHandle] = []
    gui = server.gui
    with gui.add_folder("Camera"):
      self._path = gui.add_dropdown("path", (_NONE, *films.names))
      view = gui.add_button("film this view")
      along = gui.add_button("film the path")
    self._path.on_update(lambda _: self.draw(self._path.value))
    view.on_click(lambda event: self._film_view(event.client))
    along.on_click(lambda event: self._film_path(event.client))

  @property
  def drawn(self) -> int:
    """Frusta in the scene."""
    return len(self._drawn)

  def draw(self, name: str) -> None:
    """Shows a path as frusta from its first pose, red, to its last, blue."""
    for node in self._drawn:
      node.remove()
    self._drawn = []
    if name == _NONE:
      return
    poses = self._films.poses(name)
    height, width = self._cloud.size
    chosen = np.unique(np.linspace(0, len(poses) - 1, _FRUSTA).astype(int))
    for number in chosen:
      when = number / max(len(poses) - 1, 1)
      self._drawn.append(
        self._server.scene.add_camera_frustum(
          f"/path/{number:04d}",
          fov=self._cloud.fov_y,
          aspect=width / height,
          scale=0.06 * float(self._cloud.centre[2]),
          color=(round(230 * (1 - when)), 80, round(230 * when)),
          wxyz=_quaternion(poses[number, :3, :3]),
          position=poses[number, :3, 3],
        )
      )

  def view(
    self, camera: viser.CameraHandle
  ) -> tuple[Float[np.ndarray, "T 4 4"], float]:
    """A person's camera: the same pose at every frame, and its fov_y."""
    pose = np.eye(4, dtype=np.float32)
    turn = transform.Rotation.from_quat(camera.wxyz, scalar_first=True)
    pose[:3, :3], pose[:3, 3] = turn.as_matrix(), camera.position
    frames = len(self._cloud.positions)
    return np.repeat(pose[None], frames, axis=0), float(camera.fov)

  def _film_view(self, client: viser.ClientHandle | None) -> None:
    if client is not None:
      self._send(client, "view", *self.view(client.camera))

  def _film_path(self, client: viser.ClientHandle | None) -> None:
    name = self._path.value
    if client is not None and name != _NONE:
      self._send(client, name, self._films.poses(name), self._cloud.fov_y)

  def _send(
    self,
    client: viser.ClientHandle,
    name: str,
    poses: Float[np.ndarray, "T 4 4"],
    fov_y: float,
  ) -> None:
    note = client.add_notification(
      f"Filming {name}", "", loading=True, with_close_button=False
    )
    try:
      data = self._films.film(poses, fov_y)
    except errors.UserError as error:
      note.title, note.body = "Nothing to film", str(error)
      note.loading, note.with_close_button = False, True
      return
    note.remove()
    client.send_file_download(f"{name}.mp4", data)


def _quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
  """(w, x, y, z) of a rotation matrix."""
  return transform.Rotation.from_matrix(rotation).as_quat(scalar_first=True)


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
          point_shape="circle",
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
