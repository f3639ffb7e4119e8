"""The TrajScene record, version 2: every field, its axes, dtype and unit.

This is the schema's only definition; `records` reads and writes it. A record
is one scene filmed by one camera, with the paths of its points. A dense record
follows the point behind every pixel of the first frame; a sparse one (many
public data sets) follows `P` chosen points, its dense fields are None.

Axes: `T` frames of the tracks, `V` frames of video and depth (`T` in a full
record, 1 in a light one), `H W` the grid of the picture, which is data and
differs between data sets, `P` points. World coordinates are those of the first
camera: x right, y down, z forward; pixel (row, col) has its centre at
(col + 0.5, row + 0.5). Lengths are metres, or the source's own unit where
the scale is unknown.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

VERSION = 2
TRACKS_FRAMES = ("first_camera", "each_camera")
CAMERAS = ("exact", "estimated", "unknown")
UNKNOWN_SEGMENT = 255
FIRST_FRAME, FIRST_DEPTH = "first_frame", "first_depth"
"""Names that ask `decode` for the first picture [H W 3] or depth map [H W]
without the rest."""


class Field(NamedTuple):
  """One row of the schema."""

  axes: str
  dtype: str
  unit: str
  doc: str


FIELDS: Mapping[str, Field] = {
  "id": Field("", "str", "", "unique within a data set"),
  "caption": Field("", "str", "", "what moves and how; may be empty"),
  "source": Field("", "str", "", "where it comes from, with its seed or name"),
  "licence": Field("", "str", "", "licence of the content, SPDX if it has one"),
  "fps": Field("", "float", "1/s", "frames a second of tracks and video"),
  "frame_indices": Field("T", "int32", "", "frame numbers in the source video"),
  "source_size": Field(
    "2", "int32", "px", "height, width of the source video; 0, 0 if unknown"
  ),
  "video": Field("V H W 3", "uint8", "sRGB", "frames; only the first if light"),
  "tracks": Field(
    "T H W 3",
    "float32",
    "m",
    "position of each first-frame pixel's point; NaN throughout where its "
    "first depth is NaN, infinite or <= 0; later it may be behind the camera; "
    "None in a sparse record",
  ),
  "visible": Field(
    "T H W", "bool", "", "the point is seen by the camera; None if sparse"
  ),
  "points": Field(
    "", "points", "", "sparse tracks (`Points`), or None in a dense record"
  ),
  "depth": Field("V H W", "float32", "m", "along z; NaN where unknown"),
  "intrinsics": Field("4", "float32", "px", "fx, fy, cx, cy of the grid"),
  "world_from_camera": Field(
    "T 4 4", "float32", "m", "the first is the identity; all if unknown"
  ),
  "cameras": Field(
    "", "str", "", "trust in intrinsics and poses: exact, estimated or unknown"
  ),
  "tracks_frame": Field(
    "", "str", "", "axes of the tracks: first_camera or each_camera"
  ),
  "segmentation": Field(
    "H W",
    "uint8",
    "",
    "first frame: 0 background, from 1 moving objects, 255 nobody knows",
  ),
  "views": Field("", "views", "", "true films of the scene by other cameras"),
  "renderings": Field(
    "", "renderings", "", "points rendered for other cameras, with coverage"
  ),
}
"""Field name -> its description; the table that documentation prints."""

POINT_FIELDS: Mapping[str, Field] = {
  "pixels": Field(
    "P 2",
    "float32",
    "px",
    "x, y where the point is asked for, in its query frame",
  ),
  "query_frames": Field(
    "P", "int32", "", "frame (0 to T - 1) in which `pixels` are given"
  ),
  "tracks": Field(
    "T P 3", "float32", "m", "position, axes as `tracks_frame`; NaN if unknown"
  ),
  "visible": Field("T P", "bool", "", "the point is seen by the camera"),
}
"""Fields of `Points`."""


@dataclasses.dataclass(frozen=True)
class Points:
  """Sparse tracks; described in `POINT_FIELDS`."""

  pixels: Float32[np.ndarray, "P 2"]
  query_frames: Int32[np.ndarray, "P"]
  tracks: Float32[np.ndarray, "T P 3"]
  visible: Bool[np.ndarray, "T P"]


@dataclasses.dataclass(frozen=True)
class View:
  """A film of the same scene by another camera of the same intrinsics."""

  world_from_camera: Float32[np.ndarray, "T 4 4"]
  video: UInt8[np.ndarray, "T H W 3"]


@dataclasses.dataclass(frozen=True)
class Rendering:
  """The record's points rendered for a camera of the same intrinsics.

  Attributes:
    world_from_camera: poses of that camera.
    video: sRGB; anything where nothing projects.
    coverage: a point projects there; False is a hole.
  """

  world_from_camera: Float32[np.ndarray, "T 4 4"]
  video: UInt8[np.ndarray, "T H W 3"]
  coverage: Bool[np.ndarray, "T H W"]


def no_source_size() -> Int32[np.ndarray, "2"]:
  """(0, 0): the size of the source video is not known."""
  return np.zeros(2, np.int32)


@dataclasses.dataclass(frozen=True)
class Record:
  """One scene; the fields are described in `FIELDS`."""

  id: str
  caption: str
  source: str
  licence: str
  fps: float
  frame_indices: Int32[np.ndarray, "T"]
  video: UInt8[np.ndarray, "V H W 3"]
  tracks: Float32[np.ndarray, "T H W 3"] | None
  visible: Bool[np.ndarray, "T H W"] | None
  depth: Float32[np.ndarray, "V H W"]
  intrinsics: Float32[np.ndarray, "4"]
  world_from_camera: Float32[np.ndarray, "T 4 4"]
  tracks_frame: Literal["first_camera", "each_camera"]
  segmentation: UInt8[np.ndarray, "H W"]
  views: tuple[View, ...] = ()
  renderings: tuple[Rendering, ...] = ()
  points: Points | None = None
  cameras: Literal["exact", "estimated", "unknown"] = "exact"
  source_size: Int32[np.ndarray, "2"] = dataclasses.field(
    default_factory=no_source_size
  )

  @property
  def shape(self) -> tuple[int, int, int]:
    """Frames of the tracks, height and width of the grid."""
    return (len(self.frame_indices), *self.video.shape[1:3])

  @property
  def light(self) -> bool:
    """Whether only the first frame's picture and depth are there."""
    return len(self.video) < len(self.frame_indices)

  @property
  def sparse(self) -> bool:
    """Whether it has `points` instead of dense tracks."""
    return self.points is not None

  def decode(
    self,
    wanted: Iterable[str] | None = None,
    frames: Sequence[int] | np.ndarray | None = None,
  ) -> Any:
    """Itself, or a dict of `wanted`, as `records.EncodedRecord.decode`."""
    if wanted is None:
      return self
    parts = {name: self._part(name) for name in checked_names(wanted)}
    if frames is not None and parts.get("tracks") is not None:
      parts["tracks"] = parts["tracks"][np.asarray(frames, int)]
    return parts

  def _part(self, name: str) -> Any:
    if name == FIRST_FRAME:
      return self.video[0]
    return self.depth[0] if name == FIRST_DEPTH else getattr(self, name)


def checked_names(wanted: Iterable[str]) -> list[str]:
  """The names as a list; ValueError if one is no field."""
  wanted = list(wanted)
  unknown = set(wanted) - set(FIELDS) - {FIRST_FRAME, FIRST_DEPTH}
  if unknown:
    raise ValueError(
      f"no record fields {sorted(unknown)}; there are {', '.join(FIELDS)}"
    )
  return wanted


def check(record: Record) -> None:
  """Compares a record with the schema.

  Raises:
    ValueError: names the field, what was expected and what was found.
  """
  name = f"record {record.id}"
  frames, height, width = record.shape
  sizes = {"T": frames, "H": height, "W": width, "V": len(record.video)}
  if sizes["V"] not in (1, frames):
    raise ValueError(
      f"{name}: video has {sizes['V']} frames; expected {frames} like the "
      f"tracks, or 1"
    )
  dense = {"tracks", "visible"}
  there = {part for part in dense if getattr(record, part) is not None}
  if there != (set() if record.sparse else dense):
    raise ValueError(
      f"{name}: expected tracks and visible, or points, found "
      f"{', '.join([*sorted(there), *['points'] * record.sparse]) or 'none'}"
    )
  absent = dense if record.sparse else set()
  table = {part: field for part, field in FIELDS.items() if part not in absent}
  _check_arrays(name, record, table, sizes)
  for part, allowed in (("tracks_frame", TRACKS_FRAMES), ("cameras", CAMERAS)):
    if getattr(record, part) not in allowed:
      raise ValueError(
        f"{name}: {part} is {getattr(record, part)!r}; expected one of "
        f"{allowed}"
      )
  if record.points is not None:
    _check_points(name, record.points, frames)
  film = {
    "world_from_camera": Field("T 4 4", "float32", "", ""),
    "video": Field("T H W 3", "uint8", "", ""),
  }
  for number, view in enumerate(record.views):
    _check_arrays(f"{name}: view {number}", view, film, sizes)
  film["coverage"] = Field("T H W", "bool", "", "")
  for number, rendering in enumerate(record.renderings):
    _check_arrays(f"{name}: rendering {number}", rendering, film, sizes)


def _check_points(name: str, points: Points, frames: int) -> None:
  sizes = {"T": frames, "P": len(points.pixels)}
  _check_arrays(f"{name}: points", points, POINT_FIELDS, sizes)
  asked = points.query_frames
  if asked.size and not 0 <= asked.min() <= asked.max() < frames:
    raise ValueError(
      f"{name}: points: query_frames are {asked.min()} to {asked.max()}; "
      f"expected 0 to {frames - 1}"
    )


def _check_arrays(
  name: str,
  holder: Record | Points | View | Rendering,
  table: Mapping[str, Field],
  sizes: Mapping[str, int],
) -> None:
  for part, field in table.items():
    value = getattr(holder, part)
    if not field.axes:
      continue
    shape = tuple(
      sizes[axis] if axis in sizes else int(axis) for axis in field.axes.split()
    )
    if value.shape != shape or value.dtype != field.dtype:
      raise ValueError(
        f"{name}: {part} is {value.dtype} {value.shape}; expected "
        f"{field.dtype} {shape} ({field.axes})"
      )
