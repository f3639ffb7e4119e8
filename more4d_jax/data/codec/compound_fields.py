"""Fields that hold several arrays: sparse points, views and renderings."""

from collections.abc import Callable, Sequence

from more4d_jax.data import schema
from more4d_jax.data.codec import array_codec, byte_strings, track_codec

Film = Callable[..., bytes]
"""Encodes a video [T H W 3] uint8."""


def encode_points(points: schema.Points, tolerance: float | None) -> bytes:
  """Encodes sparse points: tracks within the bound, invalid ones exactly."""
  return byte_strings.join(
    [
      array_codec.encode_array(points.pixels),
      array_codec.encode_array(points.query_frames),
      track_codec.encode(
        points.tracks[:, None], None, tolerance, keep_invalid=True
      ),
      array_codec.encode_mask(points.visible),
    ]
  )


def decode_points(blob: bytes) -> schema.Points:
  """Decodes what `encode_points` returned; DamagedError if it is damaged."""
  pixels, query_frames, tracks, visible = _split(blob, 4)
  return schema.Points(
    array_codec.decode_array(pixels),
    array_codec.decode_array(query_frames),
    track_codec.decode(tracks)[:, 0],
    array_codec.decode_array(visible),
  )


def encode_views(views: Sequence[schema.View], film: Film) -> bytes:
  """Encodes films by other cameras."""
  return byte_strings.join(
    [
      byte_strings.join(
        [array_codec.encode_array(v.world_from_camera), film(v.video)]
      )
      for v in views
    ]
  )


def decode_views(blob: bytes) -> tuple[schema.View, ...]:
  """Decodes what `encode_views` returned."""
  views = [_split(part, 2) for part in byte_strings.split(blob)]
  return tuple(
    schema.View(
      array_codec.decode_array(poses), array_codec.decode_video(video)
    )
    for poses, video in views
  )


def encode_renderings(
  renderings: Sequence[schema.Rendering], film: Film
) -> bytes:
  """Encodes rendered films with their coverage, which is kept exactly."""
  return byte_strings.join(
    [
      byte_strings.join(
        [
          array_codec.encode_array(r.world_from_camera),
          film(r.video),
          array_codec.encode_mask(r.coverage),
        ]
      )
      for r in renderings
    ]
  )


def decode_renderings(blob: bytes) -> tuple[schema.Rendering, ...]:
  """Decodes what `encode_renderings` returned."""
  renderings = [_split(part, 3) for part in byte_strings.split(blob)]
  return tuple(
    schema.Rendering(
      array_codec.decode_array(poses),
      array_codec.decode_video(video),
      array_codec.decode_array(coverage),
    )
    for poses, video, coverage in renderings
  )


def _split(blob: bytes, count: int) -> list[bytes]:
  found = byte_strings.split(blob)
  if len(found) != count:
    raise byte_strings.DamagedError(f"{len(found)} parts, expected {count}")
  return found
