"""Codec of the positions of points at frame 0.

A position is its depth, coded in the logarithm, times the ray of its pixel. A
deviation from that ray is coded too where it exceeds rounding; points that
belong to no grid are coded by x / z and y / z in the same way.
"""

import struct

import numpy as np
from jaxtyping import Bool, Float, Float32

from more4d_jax.data.codec import byte_strings, coarse_to_fine, depth_codec

DamagedError = byte_strings.DamagedError
_SHARE = 0.25  # Share of the bound that depth, and deviations, may each take.
_NOTHING = 0.02  # Deviations below this share of the bound are not coded.
_META = struct.Struct("<5d")  # Step of the deviations, intrinsics.
_LEVEL = 12


def encode(
  first: Float32[np.ndarray, "H W 3"],
  valid: Bool[np.ndarray, "H W"],
  intrinsics: Float32[np.ndarray, "4"] | None,
  tolerance: float,
) -> tuple[bytes, Float32[np.ndarray, "H W 3"]]:
  """First positions to bytes.

  Args:
    first: positions.
    valid: which of them count.
    intrinsics: of the pixels they start from; None if there are no pixels.
    tolerance: about half of it, in units of depth, is the error.

  Returns: bytes, and the positions a decoder will have; NaN where not valid.
  """
  height, width = valid.shape
  depth = np.where(valid, first[:, :, 2], np.float32(np.nan))
  depth_blob = depth_codec.encode(depth[None], _SHARE * tolerance)
  pinhole = (0.0,) * 4 if intrinsics is None else map(float, intrinsics)
  pinhole = tuple(pinhole)
  rays = _rays(pinhole, height, width)
  with np.errstate(all="ignore"):
    slopes = first[:, :, :2].astype(np.float64) / depth[:, :, None]
    off = np.where(valid[:, :, None], slopes - rays, 0.0)
  step = 2 * _SHARE * tolerance
  off_blob = b""
  if np.abs(off).max() > _NOTHING * tolerance:
    units = coarse_to_fine.quantise(np.moveaxis(off, 2, 0), step)
    misses, _ = coarse_to_fine.encode(units, valid)
    off_blob = byte_strings.encode_whole(misses, _LEVEL)
  blob = byte_strings.join([_META.pack(step, *pinhole), depth_blob, off_blob])
  return blob, decode(blob)


def decode(blob: bytes) -> Float32[np.ndarray, "H W 3"]:
  """First positions; NaN where not valid.

  Raises:
    DamagedError: the bytes are cut or altered.
  """
  parts = byte_strings.split(blob)
  if len(parts) != 3:
    raise DamagedError("first positions were expected")
  try:
    step, *pinhole = _META.unpack(parts[0])
  except struct.error as error:
    raise DamagedError("first positions without their steps") from error
  depth = depth_codec.decode(parts[1])[0]
  height, width = depth.shape
  slopes = _rays(tuple(pinhole), height, width).astype(np.float32)
  if parts[2]:
    off = coarse_to_fine.decode(
      byte_strings.WholeNumbers(parts[2]), height, width, step
    )
    slopes = slopes + np.moveaxis(off, 0, 2)
  first = np.empty((height, width, 3), np.float32)
  np.multiply(slopes, depth[:, :, None], out=first[:, :, :2])
  first[:, :, 2] = depth
  return first


def _rays(
  pinhole: tuple[float, ...], height: int, width: int
) -> Float[np.ndarray, "H W 2"]:
  """Ray (x / z, y / z) of each pixel's centre; 0 without focal lengths."""
  rays = np.zeros((height, width, 2))
  fx, fy, cx, cy = pinhole
  if fx and fy:
    rays[:, :, 0] = (np.arange(width) + 0.5 - cx) / fx
    rays[:, :, 1] = (np.arange(height)[:, None] + 0.5 - cy) / fy
  return rays
