"""Arrays and videos to bytes and back.

Lossless to the bit:

  plain   bytes of the array, split by significance, zstd
  floats  float32 [T H W ...] as differences of the bit patterns, either to the
          frame before (`time`) or to the left neighbour (`row`), zstd; what
          does not move costs nothing, NaN and infinity survive
  mask    bool [T ...], each frame eight to a byte, xor with the frame before,
          zstd

`depth_codec` and `track_codec` keep float maps within a bound instead. Videos
are H.264 in mp4, lossy (about 1 % of range). The same input gives the same
bytes.
"""

import fractions
import io
import math

import av
import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt32

from more4d_jax.data.codec import byte_strings

VERSION = byte_strings.VERSION
DamagedError = byte_strings.DamagedError
VIDEO_CRF = 14
_Coding = byte_strings.Coding
FLOATS = (_Coding.TIME, _Coding.ROW)
"""Codings of `encode_floats`."""


def encode_array(array: np.ndarray) -> bytes:
  """Any numeric or bool array to bytes, lossless."""
  array = np.asarray(array)
  if array.dtype.name not in byte_strings.DTYPES:
    raise ValueError(
      f"arrays of dtype {array.dtype} cannot be stored; use one of "
      f"{', '.join(byte_strings.DTYPES)}"
    )
  flat = np.ascontiguousarray(array).reshape(-1)
  return _pack(_Coding.PLAIN, array, _split_bytes(flat))


def encode_floats(array: Float32[np.ndarray, "T H W ..."]) -> bytes:
  """Float32 maps over time to bytes, lossless; the smaller of two codings."""
  bits = np.ascontiguousarray(array).view(np.uint32)
  candidates = [_pack(_Coding.TIME, array, _planes(_time_differences(bits)))]
  if array.ndim == 3:  # Depth: a moving camera makes rows cheaper than time.
    candidates.append(
      _pack(_Coding.ROW, array, _planes(_row_differences(bits)))
    )
  return min(candidates, key=len)


def encode_mask(mask: Bool[np.ndarray, "T ..."]) -> bytes:
  """A bool video to bytes, lossless."""
  frames = np.packbits(mask.reshape(len(mask), -1), axis=1)
  changes = frames.copy()
  changes[1:] ^= frames[:-1]
  return _pack(_Coding.MASK, mask, changes.tobytes())


def decode_array(blob: bytes) -> np.ndarray:
  """The array of any blob of this module that is not a video.

  Raises:
    DamagedError: the bytes are cut, altered or of another format.
  """
  head = byte_strings.unpack(blob)
  shape, count = head.shape, math.prod(head.shape)
  if head.coding == _Coding.MASK:
    return _decode_mask(head)
  if head.coding not in (_Coding.PLAIN, *FLOATS):
    raise DamagedError(f"an array was expected, found {head.coding.name}")
  body = byte_strings.decompress(head.body, count * head.dtype.itemsize)
  if head.coding == _Coding.PLAIN:
    return _join_bytes(body, head.dtype).reshape(shape)
  planes = _join_bytes(body, np.dtype(np.uint32))
  planes = planes.reshape(shape[3:] + shape[:3])
  signed = np.moveaxis(planes, (-3, -2, -1), (0, 1, 2))
  differences = (signed >> 1) ^ (np.uint32(0) - (signed & 1))
  sums = _sum_time if head.coding == _Coding.TIME else _sum_row
  return sums(differences).view(np.float32)


def encode_video(
  video: UInt8[np.ndarray, "T H W 3"],
  fps: float,
  crf: int = VIDEO_CRF,
  pixel_format: str = "yuv444p",
) -> bytes:
  """Frames to an H.264 mp4; any number of frames, any size in 4:4:4.

  Args:
    video: frames.
    fps: frames a second.
    crf: quality of x264, 0 best, 51 worst.
    pixel_format: "yuv420p" plays in every browser and needs even sizes.
  """
  frames, height, width, _ = video.shape
  buffer = io.BytesIO()
  with av.open(
    buffer, "w", format="mp4", options={"fflags": "+bitexact"}
  ) as container:
    rate = fractions.Fraction(fps).limit_denominator(1001)
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height = width, height
    stream.pix_fmt = pixel_format
    stream.codec_context.thread_count = 1  # More threads change the bytes.
    stream.codec_context.options = {
      "crf": str(crf),
      "preset": "veryfast",
      # The macroblock tree of x264 reads memory beyond small pictures, so
      # that the same film came out in different bytes.
      "x264-params": "no-mbtree=1:b-adapt=0",
      "flags": "+bitexact",
    }
    for index in range(frames):
      picture = np.ascontiguousarray(video[index])
      frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  return buffer.getvalue()


def decode_video(
  blob: bytes, num_frames: int | None = None
) -> UInt8[np.ndarray, "T H W 3"]:
  """The frames of a video, or its first `num_frames`.

  Raises:
    DamagedError: the bytes are no video that can be read.
  """
  pictures = []
  try:
    with av.open(io.BytesIO(blob), "r") as container:
      stream = container.streams.video[0]
      stream.codec_context.thread_count = 1
      for frame in container.decode(stream):
        pictures.append(frame.to_ndarray(format="rgb24"))
        if len(pictures) == num_frames:
          break
  except (av.FFmpegError, IndexError) as error:
    raise DamagedError(f"no readable video: {error}") from error
  if not pictures:
    raise DamagedError("a video without frames")
  return np.stack(pictures)


def _pack(coding: _Coding, array: np.ndarray, body: bytes) -> bytes:
  return byte_strings.pack(coding, array, byte_strings.compress(body))


def _decode_mask(head: byte_strings.Head) -> Bool[np.ndarray, "T ..."]:
  frames, count = head.shape[0], math.prod(head.shape[1:])
  size = -(-count // 8)
  body = byte_strings.decompress(head.body, frames * size)
  changes = np.frombuffer(body, np.uint8).reshape(frames, size)
  packed = np.bitwise_xor.accumulate(changes, axis=0)
  mask = np.unpackbits(packed, axis=1, count=count)
  return mask.view(bool).reshape(head.shape)


def _split_bytes(flat: np.ndarray) -> bytes:
  """Bytes of equal significance side by side."""
  return flat.view(np.uint8).reshape(-1, flat.itemsize).T.tobytes()


def _join_bytes(body: bytes, dtype: np.dtype) -> np.ndarray:
  split = np.frombuffer(body, np.uint8).reshape(dtype.itemsize, -1)
  return np.ascontiguousarray(split.T).reshape(-1).view(dtype)


def _planes(differences: UInt32[np.ndarray, "T H W ..."]) -> bytes:
  """Small differences of either sign to small numbers, one plane a channel."""
  signed = (differences << 1) ^ (np.uint32(0) - (differences >> 31))
  planes = np.moveaxis(signed, (0, 1, 2), (-3, -2, -1))
  return _split_bytes(np.ascontiguousarray(planes).reshape(-1))


def _time_differences(
  bits: UInt32[np.ndarray, "T H W ..."],
) -> UInt32[np.ndarray, "T H W ..."]:
  """To the frame before; the first frame to its left neighbour."""
  differences = bits.copy()
  differences[1:] -= bits[:-1]
  differences[:1] = _row_differences(bits[:1])
  return differences


def _row_differences(
  bits: UInt32[np.ndarray, "T H W ..."],
) -> UInt32[np.ndarray, "T H W ..."]:
  differences = bits.copy()
  differences[:, :, 1:] -= bits[:, :, :-1]
  return differences


def _sum_time(
  differences: UInt32[np.ndarray, "T H W ..."],
) -> UInt32[np.ndarray, "T H W ..."]:
  differences[:1] = _sum_row(differences[:1])
  return np.ascontiguousarray(np.cumsum(differences, axis=0, dtype=np.uint32))


def _sum_row(
  differences: UInt32[np.ndarray, "T H W ..."],
) -> UInt32[np.ndarray, "T H W ..."]:
  return np.ascontiguousarray(np.cumsum(differences, axis=2, dtype=np.uint32))
