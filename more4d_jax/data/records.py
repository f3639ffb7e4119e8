"""Records to byte strings and back; their fields are defined in `schema`.

On disk a record is a flat table of byte strings, `encode` and `decode`; which
file holds them is the matter of `source`.
"""

import dataclasses
import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from more4d_jax import errors
from more4d_jax.data import codec, schema

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
    video_crf: quality of x264, 0 best, 51 worst.
    pixel_format: yuv444p keeps colours per pixel; yuv420p is half the size,
      enough for films that came as such. Odd sizes are always yuv444p.
  """

  video_crf: int = codec.VIDEO_CRF
  pixel_format: Literal["yuv444p", "yuv420p"] = "yuv444p"


PROCEDURAL = EncodeOptions()
REAL = EncodeOptions(video_crf=18, pixel_format="yuv420p")
"""For filmed videos, whose colours were halved before."""


class VersionError(codec.DamagedError):
  """A record of another schema version."""


@dataclasses.dataclass(frozen=True)
class EncodedRecord:
  """The byte strings of a record and where they were found."""

  fields: Mapping[str, bytes]
  where: str = "record"

  def decode(self, wanted: Iterable[str] | None = None) -> Any:
    """A `Record`, or a dict of the `wanted` fields; the rest stays packed.

    Raises:
      UserError: the record is damaged, or of another schema version; says
        which file, record and field.
    """
    try:
      return decode(self.fields, wanted)
    except VersionError as error:
      raise errors.UserError(
        f"{self.where} has {error}; make or import these records again"
      ) from error
    except codec.DamagedError as error:
      raise errors.UserError(
        f"{self.where} is damaged ({error}); copy or make that file again"
      ) from error


def encode(
  record: Record, options: EncodeOptions = PROCEDURAL
) -> dict[str, bytes]:
  """Byte strings of a record, one for each name in `ENCODED`.

  The same record gives the same bytes. All is kept exactly but the videos.

  Raises:
    ValueError: the record does not follow the schema.
  """
  check(record)
  film = _Film(record.fps, options)
  fields = {name: getattr(record, name).encode() for name in _TEXTS}
  for name in (
    "frame_indices",
    "source_size",
    "intrinsics",
    "world_from_camera",
    "segmentation",
  ):
    fields[name] = codec.encode_array(getattr(record, name))
  fields["video"] = film(record.video)
  fields["depth"] = codec.encode_floats(record.depth)
  fields["tracks"] = fields["visible"] = fields["points"] = b""
  if record.points is None:
    fields["tracks"] = codec.encode_floats(record.tracks)
    fields["visible"] = codec.encode_mask(record.visible)
  else:
    fields["points"] = _encode_points(record.points)
  fields["views"] = _join(
    [
      _join([codec.encode_array(v.world_from_camera), film(v.video)])
      for v in record.views
    ]
  )
  fields["renderings"] = _join(
    [
      _join(
        [
          codec.encode_array(r.world_from_camera),
          film(r.video),
          codec.encode_mask(r.coverage),
        ]
      )
      for r in record.renderings
    ]
  )
  fields["header"] = _encode_header(record, options, fields)
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
  return {
    name: _field(fields, header, name) for name in schema.checked_names(wanted)
  }


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
    raise codec.DamagedError("no readable header") from error
  if version != SCHEMA_VERSION:
    raise VersionError(
      f"schema version {version}, this program reads {SCHEMA_VERSION}"
    )
  if checksum != [_checksum(text)]:
    raise codec.DamagedError("header: checksum differs")
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


@dataclasses.dataclass(frozen=True)
class _Film:
  """Encodes the videos of one record."""

  fps: float
  options: EncodeOptions

  def __call__(self, video: Any) -> bytes:
    even = not (video.shape[1] % 2 or video.shape[2] % 2)
    pixel_format = self.options.pixel_format if even else "yuv444p"
    return codec.encode_video(
      video, self.fps, self.options.video_crf, pixel_format
    )


def _encode_header(
  record: Record, options: EncodeOptions, fields: Mapping[str, bytes]
) -> bytes:
  frames, height, width = record.shape
  header = {
    "schema_version": SCHEMA_VERSION,
    "codec_version": codec.VERSION,
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
  blob = _blob(fields, header, "video" if name == schema.FIRST_FRAME else name)
  decoder = bytes.decode if name in _TEXTS else _DECODERS.get(name)
  if name in ("tracks", "visible", "points") and not blob:
    return None
  try:
    value = (decoder or codec.decode_array)(blob)
  except (codec.DamagedError, UnicodeDecodeError, struct.error) as error:
    raise codec.DamagedError(f"{name}: {error}") from error
  if name == "video" and len(value) != header["video_frames"]:
    raise codec.DamagedError(
      f"video: {len(value)} frames, the header says {header['video_frames']}"
    )
  return value


def _blob(
  fields: Mapping[str, bytes], header: Mapping[str, Any], name: str
) -> bytes:
  if name not in fields:
    raise codec.DamagedError(f"{name}: missing")
  blob = fields[name]
  if zlib.crc32(blob) != header["crc32"].get(name):
    raise codec.DamagedError(f"{name}: checksum differs")
  return blob


def _join(blobs: Sequence[bytes]) -> bytes:
  """A count, then each string with its length before it."""
  parts = [struct.pack("<I", len(blobs))]
  for blob in blobs:
    parts += [struct.pack("<I", len(blob)), blob]
  return b"".join(parts)


def _split(blob: bytes) -> list[bytes]:
  (count,) = struct.unpack_from("<I", blob)
  blobs, start = [], 4
  for _ in range(count):
    (size,) = struct.unpack_from("<I", blob, start)
    blobs.append(blob[start + 4 : start + 4 + size])
    start += 4 + size
  return blobs


def _encode_points(points: Points) -> bytes:
  return _join(
    [
      codec.encode_array(points.pixels),
      codec.encode_array(points.query_frames),
      codec.encode_floats(points.tracks),
      codec.encode_mask(points.visible),
    ]
  )


def _decode_points(blob: bytes) -> Points:
  return Points(*map(codec.decode_array, _split(blob)))


def _decode_views(blob: bytes) -> tuple[View, ...]:
  parts = map(_split, _split(blob))
  return tuple(
    View(codec.decode_array(poses), codec.decode_video(video))
    for poses, video in parts
  )


def _decode_renderings(blob: bytes) -> tuple[Rendering, ...]:
  parts = map(_split, _split(blob))
  return tuple(
    Rendering(
      codec.decode_array(poses),
      codec.decode_video(video),
      codec.decode_array(coverage),
    )
    for poses, video, coverage in parts
  )


_DECODERS = {
  schema.FIRST_FRAME: lambda blob: codec.decode_video(blob, num_frames=1)[0],
  "video": codec.decode_video,
  "points": _decode_points,
  "views": _decode_views,
  "renderings": _decode_renderings,
}
