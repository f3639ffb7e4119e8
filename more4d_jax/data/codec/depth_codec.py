"""Depth maps to bytes and back within a relative bound on every value.

The logarithm of depth is coded by `coarse_to_fine`, one map a frame, the first
frame apart because often only that one is read. Depth that is NaN, infinite or
not positive is unknown: it is decoded as NaN. The encoder decodes what it
wrote; the few values that still miss the bound, such as extremely large
depths, are stored exactly.
"""

import struct

import numpy as np
from jaxtyping import Bool, Float32

from more4d_jax.data.codec import array_codec, byte_strings, coarse_to_fine

LEAST_TOLERANCE = 2e-5
DamagedError = byte_strings.DamagedError
_MARGIN = 0.98
_ROUNDING = 2.5e-7  # Of another machine's float32 exponential.
_LEVEL = 12
_STEP = struct.Struct("<d")


def encode(
  depth: Float32[np.ndarray, "V H W"], tolerance: float | None
) -> bytes:
  """Depth maps to bytes.

  Args:
    depth: unknown where NaN, infinite or not positive.
    tolerance: bound of |decoded / depth - 1|, at least `LEAST_TOLERANCE`; None
      keeps every bit, of unknown depth too.

  Raises:
    ValueError: a tolerance that cannot be kept.
  """
  if tolerance is None:
    return array_codec.encode_floats(depth)
  coarse_to_fine.check_tolerance("depth", tolerance, LEAST_TOLERANCE)
  known = known_depth(depth)
  with np.errstate(all="ignore"):
    logarithm = np.where(known, np.log(depth, dtype=np.float64), 0.0)
  step = 2 * _MARGIN * tolerance * (1 - tolerance)
  units = coarse_to_fine.quantise(logarithm, step)
  misses = np.empty((len(depth), depth[0].size), np.int32)
  found = np.empty_like(units)
  for v in range(len(depth)):
    part = slice(v, v + 1)
    misses[part], found[part] = coarse_to_fine.encode(units[part], known[v])
  decoded = coarse_to_fine.scaled(found, step)
  np.exp(decoded, out=decoded)
  with np.errstate(all="ignore"):
    error = np.abs(decoded.astype(np.float64) / depth - 1)
  missed = np.flatnonzero(known & ~(error <= tolerance - _ROUNDING))
  parts = [
    _STEP.pack(step),
    b"" if known.all() else array_codec.encode_mask(known),
    byte_strings.encode_whole(misses[:1], _LEVEL),
    byte_strings.encode_whole(misses[1:], _LEVEL),
    array_codec.encode_array(missed.astype(np.uint32)),
    array_codec.encode_array(depth.reshape(-1)[missed]),
  ]
  return byte_strings.pack(
    byte_strings.Coding.DEPTH, depth, byte_strings.join(parts)
  )


def decode(
  blob: bytes, *, first_only: bool = False
) -> Float32[np.ndarray, "V H W"]:
  """Depth maps, NaN where unknown; of all frames or of the first.

  Raises:
    DamagedError: the bytes are cut, altered or no depth.
  """
  head = byte_strings.unpack(blob)
  if head.coding in array_codec.FLOATS:
    return array_codec.decode_array(blob)[: 1 if first_only else None]
  if head.coding != byte_strings.Coding.DEPTH:
    raise DamagedError(f"depth was expected, found {head.coding.name}")
  parts = byte_strings.split(head.body)
  frames, height, width = head.shape
  frames = 1 if first_only else frames
  try:
    step_bytes, known, *whole, missed, values = parts
    (step,) = _STEP.unpack(step_bytes)
  except (ValueError, struct.error) as error:
    raise DamagedError("depth without all its parts") from error
  depth = np.concatenate(
    [
      coarse_to_fine.decode(
        byte_strings.WholeNumbers(part), height, width, step
      )
      for part in whole[: 1 if first_only else None]
    ]
  )
  if len(depth) != frames:
    raise DamagedError(f"{len(depth)} frames of depth, expected {frames}")
  np.exp(depth, out=depth)
  places = array_codec.decode_array(missed)
  places = places[places < depth.size]
  depth.reshape(-1)[places] = array_codec.decode_array(values)[: len(places)]
  if known:
    depth[~array_codec.decode_array(known)[:frames]] = np.nan
  return depth


def known_depth(depth: Float32[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
  """True where a depth is finite and positive."""
  return np.isfinite(depth) & (depth > 0)
