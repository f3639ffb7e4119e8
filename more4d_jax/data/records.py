"""The TrajScene record: every field, its axes, dtype and unit.

This is the schema's only definition. A record is one scene filmed by one
camera: a video, and for every pixel of its first frame the path of the point
seen there. Axis letters: `T` frames of the tracks, `V` frames of video and
depth (`T` in a full record, 1 in a light one), `H W` the grid, which is data
and differs between data sets. World coordinates are those of the first
camera: x right, y down, z forward; pixel (row, col) has its centre at
(col + 0.5, row + 0.5).

On disk a record is a flat table of byte strings, `encode` and `decode`; which
file holds them is the matter of `source`.
"""

import dataclasses
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from more4d_jax import errors
from more4d_jax.data import codec

SCHEMA_VERSION = 1
TRACKS_FRAMES = ("first_camera", "each_camera")


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
  "video": Field("V H W 3", "uint8", "sRGB", "frames; only the first if light"),
  "tracks": Field(
    "T H W 3", "float32", "m", "position of each first-frame pixel's point"
  ),
  "visible": Field("T H W", "bool", "", "the point is seen by the camera"),
  "depth": Field(
    "V H W", "float32", "m", "along z; NaN, infinite or <= 0 is unknown"
  ),
  "intrinsics": Field("4", "float32", "px", "fx, fy, cx, cy"),
  "world_from_camera": Field("T 4 4", "float32", "m", "the first is identity"),
  "tracks_frame": Field(
    "", "str", "", "axes of the tracks: first_camera or each_camera"
  ),
  "segmentation": Field(
    "H W", "uint8", "", "first frame: 0 background, from 1 moving objects"
  ),
  "views": Field("", "views", "", "true films of the scene by other cameras"),
}
"""Field name -> its description; the table that documentation prints."""

ENCODED = [
  "header",
  "id",
  "caption",
  "source",
  "licence",
  "frame_indices",
  "video",
  "tracks",
  "visible",
  "depth",
  "intrinsics",
  "world_from_camera",
  "segmentation",
  "views",
]
"""Names of the byte strings on disk. `header` is JSON: versions, shape, fps,
`tracks_frame` and a crc32 of each other string."""

_TEXTS = ("id", "caption", "source", "licence")
_HEADER_VALUES = ("fps", "tracks_frame")


@dataclasses.dataclass(frozen=True)
class View:
  """A film of the same scene by another camera of the same intrinsics."""

  world_from_camera: Float32[np.ndarray, "T 4 4"]
  video: UInt8[np.ndarray, "T H W 3"]


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
  tracks: Float32[np.ndarray, "T H W 3"]
  visible: Bool[np.ndarray, "T H W"]
  depth: Float32[np.ndarray, "V H W"]
  intrinsics: Float32[np.ndarray, "4"]
  world_from_camera: Float32[np.ndarray, "T 4 4"]
  tracks_frame: Literal["first_camera", "each_camera"]
  segmentation: UInt8[np.ndarray, "H W"]
  views: tuple[View, ...] = ()

  @property
  def shape(self) -> tuple[int, int, int]:
    """Frames, height and width of the tracks."""
    return self.tracks.shape[:3]

  @property
  def light(self) -> bool:
    """Whether only the first frame's picture and depth are there."""
    return len(self.video) < len(self.tracks)

  def decode(self, wanted: Iterable[str] | None = None) -> Any:
    """Itself, or a dict of the `wanted` fields, as `EncodedRecord.decode`."""
    if wanted is None:
      return self
    return {
      name: self.video[0] if name == "first_frame" else getattr(self, name)
      for name in _checked(wanted)
    }


@dataclasses.dataclass(frozen=True)
class EncodedRecord:
  """The byte strings of a record and where they were found."""

  fields: Mapping[str, bytes]
  where: str = "record"

  def decode(self, wanted: Iterable[str] | None = None) -> Any:
    """A `Record`, or a dict of the `wanted` fields; the rest stays packed.

    Raises:
      UserError: the record is damaged; says which file, record and field.
    """
    try:
      return decode(self.fields, wanted)
    except codec.DamagedError as error:
      raise errors.UserError(
        f"{self.where} is damaged ({error}); copy or make that file again"
      ) from error


def check(record: Record) -> None:
  """Compares a record with the schema.

  Raises:
    ValueError: names the field, what was expected and what was found.
  """
  frames, height, width = record.tracks.shape[:3]
  sizes = {"T": frames, "H": height, "W": width, "V": len(record.video)}
  if sizes["V"] not in (1, frames):
    raise ValueError(
      f"record {record.id}: video has {sizes['V']} frames; expected {frames} "
      f"like the tracks, or 1"
    )
  for name, field in FIELDS.items():
    value = getattr(record, name)
    if field.dtype in ("str", "float", "views"):
      continue
    shape = tuple(
      sizes[axis] if axis in sizes else int(axis) for axis in field.axes.split()
    )
    if value.shape != shape or value.dtype != field.dtype:
      raise ValueError(
        f"record {record.id}: {name} is {value.dtype} {value.shape}; expected "
        f"{field.dtype} {shape} ({field.axes})"
      )
  if record.tracks_frame not in TRACKS_FRAMES:
    raise ValueError(
      f"record {record.id}: tracks_frame is {record.tracks_frame!r}; expected "
      f"one of {TRACKS_FRAMES}"
    )
  for number, view in enumerate(record.views):
    if view.video.shape != (frames, height, width, 3):
      raise ValueError(
        f"record {record.id}: video of view {number} is {view.video.shape}; "
        f"expected {(frames, height, width, 3)}"
      )


def encode(record: Record) -> dict[str, bytes]:
  """Byte strings of a record, one for each name in `ENCODED`.

  The same record gives the same bytes. All is kept exactly but the videos.

  Raises:
    ValueError: the record does not follow the schema.
  """
  check(record)
  fields = {name: getattr(record, name).encode() for name in _TEXTS}
  for name in (
    "frame_indices",
    "intrinsics",
    "world_from_camera",
    "segmentation",
  ):
    fields[name] = codec.encode_array(getattr(record, name))
  fields["video"] = codec.encode_video(record.video, record.fps)
  fields["tracks"] = codec.encode_floats(record.tracks)
  fields["visible"] = codec.encode_mask(record.visible)
  fields["depth"] = codec.encode_floats(record.depth)
  fields["views"] = _encode_views(record.views, record.fps)
  frames, height, width = record.shape
  header = {
    "schema_version": SCHEMA_VERSION,
    "codec_version": codec.VERSION,
    "frames": frames,
    "height": height,
    "width": width,
    "video_frames": len(record.video),
    "num_views": len(record.views),
    "fps": record.fps,
    "tracks_frame": record.tracks_frame,
    "crc32": {name: zlib.crc32(blob) for name, blob in fields.items()},
  }
  fields["header"] = json.dumps(header, sort_keys=True).encode()
  return fields


def decode(
  fields: Mapping[str, bytes], wanted: Iterable[str] | None = None
) -> Any:
  """The whole `Record`, or a dict of only the `wanted` fields.

  Args:
    fields: what `encode` returned.
    wanted: names out of `FIELDS`, or "first_frame" ([H W 3] uint8, the picture
      without the rest of the video). Only these are decoded and checked.

  Raises:
    codec.DamagedError: a byte string is missing, cut or altered.
  """
  header = read_header(fields)
  if wanted is None:
    return Record(**{name: _field(fields, header, name) for name in FIELDS})
  return {name: _field(fields, header, name) for name in _checked(wanted)}


def read_header(fields: Mapping[str, bytes]) -> dict[str, Any]:
  """Versions, shape and checksums of an encoded record.

  Raises:
    codec.DamagedError: no header, or one of another schema version.
  """
  try:
    header = json.loads(fields["header"])
    version = header["schema_version"]
  except (KeyError, TypeError, ValueError) as error:
    raise codec.DamagedError("no readable header") from error
  if version != SCHEMA_VERSION:
    raise codec.DamagedError(
      f"schema version {version}, this program reads {SCHEMA_VERSION}"
    )
  return header


def verify(fields: Mapping[str, bytes]) -> None:
  """Compares every byte string with its checksum, without decoding.

  Raises:
    codec.DamagedError: one is missing, cut or altered.
  """
  header = read_header(fields)
  for name in ENCODED:
    if name != "header":
      _blob(fields, header, name)


def _checked(wanted: Iterable[str]) -> list[str]:
  wanted = list(wanted)
  unknown = set(wanted) - set(FIELDS) - {"first_frame"}
  if unknown:
    raise ValueError(
      f"no record fields {sorted(unknown)}; there are {', '.join(FIELDS)}"
    )
  return wanted


def _field(
  fields: Mapping[str, bytes], header: Mapping[str, Any], name: str
) -> Any:
  if name in _HEADER_VALUES:
    return header[name]
  blob = _blob(fields, header, "video" if name == "first_frame" else name)
  decoder = bytes.decode if name in _TEXTS else _DECODERS.get(name)
  try:
    return (decoder or codec.decode_array)(blob)
  except (codec.DamagedError, UnicodeDecodeError, struct.error) as error:
    raise codec.DamagedError(f"{name}: {error}") from error


def _blob(
  fields: Mapping[str, bytes], header: Mapping[str, Any], name: str
) -> bytes:
  if name not in fields:
    raise codec.DamagedError(f"{name}: missing")
  blob = fields[name]
  if zlib.crc32(blob) != header["crc32"].get(name):
    raise codec.DamagedError(f"{name}: checksum differs")
  return blob


def _encode_views(views: tuple[View, ...], fps: float) -> bytes:
  """A count, then for each view its two strings with their lengths before."""
  parts = [struct.pack("<I", len(views))]
  for view in views:
    for blob in (
      codec.encode_array(view.world_from_camera),
      codec.encode_video(view.video, fps),
    ):
      parts += [struct.pack("<I", len(blob)), blob]
  return b"".join(parts)


def _decode_views(blob: bytes) -> tuple[View, ...]:
  (count,) = struct.unpack_from("<I", blob)
  views, start = [], 4
  for _ in range(count):
    blobs = []
    for _ in range(2):
      (size,) = struct.unpack_from("<I", blob, start)
      blobs.append(blob[start + 4 : start + 4 + size])
      start += 4 + size
    views.append(
      View(codec.decode_array(blobs[0]), codec.decode_video(blobs[1]))
    )
  return tuple(views)


_DECODERS = {
  "first_frame": lambda blob: codec.decode_video(blob, num_frames=1)[0],
  "video": codec.decode_video,
  "views": _decode_views,
}
