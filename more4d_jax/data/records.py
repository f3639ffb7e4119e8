"""Records to byte strings and back; their fields are defined in `schema`.

On disk a record is a flat table of byte strings, which `encode` makes and
`decode` reads; `record_directory` keeps them in files.
"""

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from more4d_jax import errors
from more4d_jax.data import schema
from more4d_jax.data.codec import (
  array_codec,
  compound_fields,
  depth_codec,
  track_codec,
  track_planes,
)

SCHEMA_VERSION = schema.VERSION
TRACKS_FRAMES = schema.TRACKS_FRAMES
FIELDS = schema.FIELDS
Field = schema.Field
Points = schema.Points
Record = schema.Record
Rendering = schema.Rendering
View = schema.View
check = schema.check

ENCODED = [
  "header",
  "id",
  "caption",
  "source",
  "licence",
  "frame_indices",
  "source_size",
  "video",
  "tracks",
  "visible",
  "points",
  "depth",
  "intrinsics",
  "world_from_camera",
  "segmentation",
  "views",
  "renderings",
]
"""Names of the byte strings on disk. `header` is a line of JSON (versions,
shape, fps, `tracks_frame`, `cameras`, how exactly things are kept, a crc32 of
each other string) and one with its own crc32. A None is an empty string."""

_TEXTS = ("id", "caption", "source", "licence")
_HEADER_VALUES = ("fps", "tracks_frame", "cameras")


@dataclasses.dataclass(frozen=True)
class EncodeOptions:
  """How exactly a record is kept.

  Attributes:
    tracks_tolerance: bound of every coordinate's error in units of the point's
      first depth (5e-4: a quarter of a pixel at a focal length of 500 px);
      None keeps every bit.
    depth_tolerance: bound of the relative error; None keeps every bit.
    video_crf: quality of x264, 0 best, 51 worst.
    pixel_format: yuv444p keeps colours per pixel; yuv420p is half the size,
      enough for films that came as such. Odd sizes are always yuv444p.
  """

  tracks_tolerance: float | None = 5e-4
  depth_tolerance: float | None = 5e-4
  video_crf: int = array_codec.VIDEO_CRF
  pixel_format: Literal["yuv444p", "yuv420p"] = "yuv444p"


PROCEDURAL = EncodeOptions()
REAL = EncodeOptions(video_crf=18, pixel_format="yuv420p")
"""For filmed videos, whose colours were halved before."""


class VersionError(array_codec.DamagedError):
  """A record of another schema version."""


@dataclasses.dataclass(frozen=True)
class EncodedRecord:
  """The byte strings of a record and where they were found."""

  fields: Mapping[str, bytes]
  where: str = "record"

  @property
  def shape(self) -> tuple[int, int, int]:
    """Frames of the tracks, height and width of the grid."""
    header = self._checked(read_header)
    return header["frames"], header["height"], header["width"]

  def decode(
    self,
    wanted: Iterable[str] | None = None,
    frames: Sequence[int] | np.ndarray | None = None,
  ) -> Any:
    """A `Record`, or a dict of the `wanted` fields; the rest stays packed.

    Args:
      wanted: as in `decode`.
      frames: the frames of `tracks` to decode, where `tracks` is wanted; all
        other fields stay whole.

    Raises:
      UserError: the record is damaged, or of another schema version; says
        which file, record and field.
    """
    return self._checked(decode, wanted, frames)

  def track_planes(self) -> track_planes.TrackPlanes:
    """The dense tracks as planes and basis, to be multiplied elsewhere.

    Raises:
      UserError: the record is sparse, damaged or of another version.
    """
    if not self.fields.get("tracks"):
      raise errors.UserError(
        f"{self.where} is sparse, it has no planes of dense tracks; choose "
        f"dense records"
      )
    return self._checked(_track_planes)

  def _checked(self, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
      return function(self.fields, *arguments)
    except VersionError as error:
      raise errors.UserError(
        f"{self.where} has {error}; make or import these records again"
      ) from error
    except array_codec.DamagedError as error:
      raise errors.DamagedRecordError(
        f"{self.where} is damaged ({error}); copy or make that file again"
      ) from error


def encode(
  record: Record, options: EncodeOptions = PROCEDURAL
) -> dict[str, bytes]:
  """Byte strings of a record, one for each name in `ENCODED`.

  The same record gives the same bytes. Videos are lossy, tracks and depth
  within the bounds of `options`, all else is kept exactly; what is invalid in
  tracks or depth comes back as NaN.

  Raises:
    ValueError: the record does not follow the schema.
  """
  check(record)
  film = functools.partial(
    _encode_film,
    fps=record.fps,
    crf=options.video_crf,
    pixel_format=options.pixel_format,
  )
  fields = {name: getattr(record, name).encode() for name in _TEXTS}
  for name in (
    "frame_indices",
    "source_size",
    "intrinsics",
    "world_from_camera",
    "segmentation",
  ):
    fields[name] = array_codec.encode_array(getattr(record, name))
  fields["video"] = film(record.video)
  fields["depth"] = depth_codec.encode(record.depth, options.depth_tolerance)
  fields["tracks"] = fields["visible"] = fields["points"] = b""
  if record.points is None:
    fields["tracks"] = track_codec.encode(
      record.tracks, record.intrinsics, options.tracks_tolerance
    )
    fields["visible"] = array_codec.encode_mask(record.visible)
  else:
    fields["points"] = compound_fields.encode_points(
      record.points, options.tracks_tolerance
    )
  fields["views"] = compound_fields.encode_views(record.views, film)
  fields["renderings"] = compound_fields.encode_renderings(
    record.renderings, film
  )
  fields["header"] = _encode_header(record, options, fields)
  return fields


def decode(
  fields: Mapping[str, bytes],
  wanted: Iterable[str] | None = None,
  frames: Sequence[int] | np.ndarray | None = None,
) -> Any:
  """The whole `Record`, or a dict of only the `wanted` fields.

  Args:
    fields: what `encode` returned.
    wanted: names out of `FIELDS`, or "first_frame" ([H W 3] uint8) and
      "first_depth" ([H W] float32), which leave the rest of video and depth
      packed. Only these are decoded and checked.
    frames: of `tracks`; see `EncodedRecord.decode`.

  Raises:
    codec.DamagedError: a byte string is missing, cut or altered.
  """
  header = read_header(fields)
  if wanted is None:
    return Record(**{name: _field(fields, header, name) for name in FIELDS})
  return {
    name: _tracks(fields, header, frames)
    if name == "tracks"
    else _field(fields, header, name)
    for name in schema.checked_names(wanted)
  }


def with_caption(fields: Mapping[str, bytes], caption: str) -> dict[str, bytes]:
  """The byte strings of the same record under another caption.

  Raises:
    codec.DamagedError: no header, or one of another schema version.
  """
  header = read_header(fields)
  blob = caption.encode()
  header["crc32"]["caption"] = zlib.crc32(blob)
  text = json.dumps(header, sort_keys=True).encode()
  header_blob = text + b"\n" + _checksum(text)
  return {**fields, "caption": blob, "header": header_blob}


def read_header(fields: Mapping[str, bytes]) -> dict[str, Any]:
  """Versions, shape and checksums of an encoded record.

  Raises:
    VersionError: another schema version.
    codec.DamagedError: no header.
  """
  try:
    text, *checksum = fields["header"].split(b"\n")
    header = json.loads(text)
    version = header["schema_version"]
  except (KeyError, TypeError, ValueError) as error:
    raise array_codec.DamagedError("no readable header") from error
  if version != SCHEMA_VERSION:
    raise VersionError(
      f"schema version {version}, this program reads {SCHEMA_VERSION}"
    )
  if checksum != [_checksum(text)]:
    raise array_codec.DamagedError("header: checksum differs")
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


def _encode_film(
  video: UInt8[np.ndarray, "T H W 3"],
  *,
  fps: float,
  crf: int,
  pixel_format: str,
) -> bytes:
  even = not (video.shape[1] % 2 or video.shape[2] % 2)
  return array_codec.encode_video(
    video, fps, crf, pixel_format if even else "yuv444p"
  )


def _encode_header(
  record: Record, options: EncodeOptions, fields: Mapping[str, bytes]
) -> bytes:
  frames, height, width = record.shape
  header = {
    "schema_version": SCHEMA_VERSION,
    "codec_version": array_codec.VERSION,
    "frames": frames,
    "height": height,
    "width": width,
    "video_frames": len(record.video),
    "num_points": -1 if record.points is None else len(record.points.pixels),
    "num_views": len(record.views),
    "num_renderings": len(record.renderings),
    "options": dataclasses.asdict(options),
    **{name: getattr(record, name) for name in _HEADER_VALUES},
    "crc32": {name: zlib.crc32(blob) for name, blob in fields.items()},
  }
  text = json.dumps(header, sort_keys=True).encode()
  return text + b"\n" + _checksum(text)


def _checksum(text: bytes) -> bytes:
  return b"%08x" % zlib.crc32(text)


def _field(
  fields: Mapping[str, bytes], header: Mapping[str, Any], name: str
) -> Any:
  if name in _HEADER_VALUES:
    return header[name]
  if name == "tracks":
    return _tracks(fields, header)
  stored = {schema.FIRST_FRAME: "video", schema.FIRST_DEPTH: "depth"}
  blob = _blob(fields, header, stored.get(name, name))
  if name in ("visible", "points") and not blob:
    return None
  decoder = bytes.decode if name in _TEXTS else _DECODERS.get(name)
  try:
    value = (decoder or array_codec.decode_array)(blob)
  except (array_codec.DamagedError, UnicodeDecodeError) as error:
    raise array_codec.DamagedError(f"{name}: {error}") from error
  if name == "video" and len(value) != header["video_frames"]:
    raise array_codec.DamagedError(
      f"video: {len(value)} frames, the header says {header['video_frames']}"
    )
  return value


def _tracks(
  fields: Mapping[str, bytes],
  header: Mapping[str, Any],
  frames: Sequence[int] | np.ndarray | None = None,
) -> Any:
  blob = _blob(fields, header, "tracks")
  if not blob:
    return None
  try:
    return track_codec.decode(blob, frames)
  except array_codec.DamagedError as error:
    raise array_codec.DamagedError(f"tracks: {error}") from error


def _track_planes(fields: Mapping[str, bytes]) -> track_planes.TrackPlanes:
  return track_codec.decode_planes(_blob(fields, read_header(fields), "tracks"))


def _blob(
  fields: Mapping[str, bytes], header: Mapping[str, Any], name: str
) -> bytes:
  if name not in fields:
    raise array_codec.DamagedError(f"{name}: missing")
  blob = fields[name]
  if zlib.crc32(blob) != header["crc32"].get(name):
    raise array_codec.DamagedError(f"{name}: checksum differs")
  return blob


_DECODERS = {
  schema.FIRST_FRAME: lambda blob: array_codec.decode_video(blob, num_frames=1)[
    0
  ],
  schema.FIRST_DEPTH: lambda blob: depth_codec.decode(blob, first_only=True)[0],
  "depth": depth_codec.decode,
  "video": array_codec.decode_video,
  "points": compound_fields.decode_points,
  "views": compound_fields.decode_views,
  "renderings": compound_fields.decode_renderings,
}
