"""The scene that every importer returns, already in our conventions.

A reader parses its data set's files and converts axes and units: metres (or
the source's unit where the scale is unknown), x right, y down, z forward,
pixel (row, col) centred at (col + 0.5, row + 0.5), poses `world_from_camera`.
What is common to all kinds (first camera's frame, clips of 4k + 1 frames,
size of the picture, validity) is done once, by `conversion`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

Frames = Callable[[Sequence[int]], np.ndarray]
"""Numbers of frames -> their pictures [n H W 3] uint8 or depths [n H W]."""


class Refused(Exception):  # noqa: N818 (says what happened to the scene)
  """A scene cannot become a record; the message says why, in one line."""


@dataclasses.dataclass(frozen=True)
class Scene:
  """One scene as a reader found it.

  Attributes:
    name: unique in its source.
    caption: may be empty.
    source: the data set and the place in it.
    licence: of the content.
    fps: frames a second.
    frame_numbers: [T] int, numbers of the frames in the source's video.
    frames: pictures of the frames 0 ... T - 1; None if there are none.
    tracks: [T N 3], axes as `axes` says; not finite where unknown.
    visible: [T N] bool.
    grid: height and width if the points are all pixels of frame 0 in row
      order (N = H W); None for chosen points.
    axes: `world`, or `camera`: those of the camera of each frame.
    size: height and width of the picture that `intrinsics` belongs to.
    intrinsics: [4] or [T 4], fx, fy, cx, cy in pixels.
    world_from_camera: [T 4 4]; None if unknown.
    cameras: how far intrinsics and poses can be trusted.
    depth: depth along z of the frames 0 ... T - 1, 0 or NaN where unknown.
    first_picture: [H W 3] uint8, where there are no `frames`.
    positions: [T N 2], the source's own 2D tracks in pixels of `size`, to
      check the geometry with; NaN where it has none.
    segments: [H W] of frame 0: 0 background, from 1 moving objects.
    notes: what had to be mended so far.
  """

  name: str
  caption: str
  source: str
  licence: str
  fps: float
  frame_numbers: np.ndarray
  tracks: np.ndarray
  visible: np.ndarray
  size: tuple[int, int]
  intrinsics: np.ndarray
  grid: tuple[int, int] | None = None
  axes: Literal["world", "camera"] = "world"
  world_from_camera: np.ndarray | None = None
  cameras: Literal["exact", "estimated", "unknown"] = "exact"
  frames: Frames | None = None
  depth: Frames | None = None
  first_picture: np.ndarray | None = None
  positions: np.ndarray | None = None
  segments: np.ndarray | None = None
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Found:
  """A scene of a source that has been found and perhaps not been read yet.

  Attributes:
    name: of the scene, for the report.
    read: reads it; raises `Refused`.
  """

  name: str
  read: Callable[[], Scene]


@dataclasses.dataclass(frozen=True)
class Kind:
  """How a data set is read.

  Attributes:
    units: source paths -> what workers read one by one (a file, a folder),
      sorted; each a tuple of strings.
    found: unit, `Limits` and settings -> its scenes, in order; called in a
      worker. A scene must be read before the iterator advances.
    about: the layout in one line, for --help and for messages.
  """

  units: Callable[[Sequence[str]], list[tuple[str, ...]]]
  found: Callable[..., Iterator[Found]]
  about: str


@dataclasses.dataclass(frozen=True)
class Tracking:
  """How films without tracks get them.

  Attributes:
    tracker: see `tracking.trackers.HELP`.
    depth: see `photos.depth_maps.HELP`; None takes files beside the films.
    fov: horizontal angle of view in degrees, where the depth has no camera.
    height: most rows of a grid.
    width: most columns.
    frames: of a clip.
    fps: most frames a second.
    weights: file of the tracker's network, if it has one.
    cameras: unknown, or estimated from what stands still.
  """

  tracker: str
  depth: str | None
  fov: float
  height: int
  width: int
  frames: int
  fps: float
  weights: str | None = None
  cameras: str = "unknown"


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a user may say about the source.

  Attributes:
    videos: folder of the videos, where they do not lie beside the tracks.
    fps: frames a second, where the files do not say.
    max_member_bytes: a file, or member of an archive, larger than this is
      not read.
    max_archive_bytes: of the members of one archive; the rest is not read.
    max_video_values: frames times pixels of one video.
    scratch: folder for members of an archive while they are read.
    tracking: of films that have no tracks.
  """

  videos: str | None = None
  fps: float = 24.0
  max_member_bytes: int = 4 << 30
  max_archive_bytes: int = 1 << 40
  max_video_values: int = 2 << 30
  scratch: str | None = None
  tracking: Tracking | None = None


def held(array: np.ndarray) -> Frames:
  """Frames that are in memory already."""
  return lambda numbers: array[list(numbers)]
