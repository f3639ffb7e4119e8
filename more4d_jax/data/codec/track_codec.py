"""Dense tracks to bytes and back within a bound on every value.

With z the depth of a point at frame 0, each coordinate of each position is
kept within tolerance * z. What is coded is the training quantity:

  1. z, in the logarithm, and the position at frame 0 as z times the ray of the
     point's pixel, plus what it deviates from that ray, if anything;
  2. motion (X_t - X_0) / z as planes of coefficients times a basis in time
     fitted to the scene (`track_basis`), the planes by `coarse_to_fine`;
  3. corrections in steps of the bound for points the planes miss;
  4. the positions themselves where floats are too coarse for the bound, and
     where a position is not finite later.

The encoder decodes what it wrote and compares every value, so the bound holds
whatever the scene is. A point whose first position is not finite, or whose
first depth is not positive, is invalid and comes back as NaN throughout; with
`keep_invalid` it is listed as it is. Later a point may be anywhere.
"""

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from more4d_jax.data.codec import (
  array_codec,
  byte_strings,
  coarse_to_fine,
  first_points,
  track_basis,
  track_planes,
)

LEAST_TOLERANCE = 1e-4
DamagedError = byte_strings.DamagedError
_DEVIATION = 0.85  # Error from rounding coefficients, as a share of the bound.
_CORRECTION = 1.9  # Step of corrections, in units of the bound.
_FARTHEST = 64.0  # Motions above this, in first depths, are corrections only.
_LEVEL = 12
_META = struct.Struct("<dd")  # Steps of planes and of corrections.


def encode(
  tracks: Float32[np.ndarray, "T H W 3"],
  intrinsics: Float32[np.ndarray, "4"] | None,
  tolerance: float | None,
  *,
  keep_invalid: bool = False,
) -> bytes:
  """Tracks to bytes.

  Args:
    tracks: positions.
    intrinsics: of the pixels the points start from; None if they do not start
      from the pixels of a grid.
    tolerance: bound of the error in units of the first depth, at least
      `LEAST_TOLERANCE`; None keeps every bit, of invalid points too.
    keep_invalid: whether to list invalid points instead of making them NaN.

  Raises:
    ValueError: a tolerance that cannot be kept.
  """
  if tolerance is None:
    return array_codec.encode_floats(tracks)
  coarse_to_fine.check_tolerance("tracks", tolerance, LEAST_TOLERANCE)
  valid = valid_points(tracks)
  first_blob, first = first_points.encode(
    tracks[0], valid, intrinsics, tolerance
  )
  finite = valid & np.isfinite(tracks).all(axis=(0, 3))
  motion = _motion(tracks, first[:, :, 2], finite)
  largest = np.abs(motion).max(axis=(0, 1), initial=0.0)
  coded = finite & (largest <= _FARTHEST)
  motion[:, :, ~coded] = 0
  moving = motion[:, :, coded & (largest > tolerance / 2)]
  basis = track_basis.fit(moving, tolerance)
  step = track_basis.step(basis, _DEVIATION * tolerance)
  misses, planes = _encode_planes(motion, basis, coded, step)
  found = track_planes.TrackPlanes(
    basis=np.pad(basis, ((1, 0), (0, 0))),
    planes=planes,
    first=first,
    corrected=np.zeros(0, np.int64),
    corrections=np.zeros((len(tracks), 0, 3), np.float32),
    listed=np.zeros(0, np.int64),
    exact=np.zeros((len(tracks), 0, 3), np.float32),
  )
  mended = _mend(tracks, found, finite, tolerance)
  listed = valid & ~finite | (~valid if keep_invalid else False)
  listed = listed.reshape(-1)
  listed[mended.listed] = True
  return byte_strings.pack(
    byte_strings.Coding.TRACKS,
    tracks,
    byte_strings.join(
      [
        _META.pack(step, mended.step),
        first_blob,
        array_codec.encode_array((basis * track_basis.ROUND).astype(np.int16)),
        byte_strings.encode_whole(misses, _LEVEL),
        _encode_numbers(mended.corrected),
        byte_strings.encode_whole(mended.whole, _LEVEL),
        _encode_numbers(np.flatnonzero(listed)),
        array_codec.encode_floats(
          tracks.reshape(len(tracks), -1, 3)[:, np.flatnonzero(listed)]
        ),
      ]
    ),
  )


def decode(
  blob: bytes, frames: Sequence[int] | np.ndarray | None = None
) -> Float32[np.ndarray, "F H W 3"]:
  """Tracks, at the given frames or all.

  Raises:
    DamagedError: the bytes are cut, altered or no tracks.
  """
  if byte_strings.unpack(blob).coding in array_codec.FLOATS:
    tracks = array_codec.decode_array(blob)
    return tracks if frames is None else tracks[np.asarray(frames, int)]
  return decode_planes(blob).tracks(frames)


def decode_planes(blob: bytes) -> track_planes.TrackPlanes:
  """Tracks as planes of coefficients and a basis in time.

  Tracks that were kept to the bit have no planes, all points are listed.

  Raises:
    DamagedError: the bytes are cut, altered or no tracks.
  """
  head = byte_strings.unpack(blob)
  if head.coding in array_codec.FLOATS:
    return track_planes.listed(array_codec.decode_array(blob))
  parts = byte_strings.split(head.body)
  if head.coding != byte_strings.Coding.TRACKS or len(parts) != 8:
    raise DamagedError(f"tracks were expected, found {head.coding.name}")
  frames, height, width, _ = head.shape
  try:
    step, correction_step = _META.unpack(parts[0])
  except struct.error as error:
    raise DamagedError("tracks without their steps") from error
  basis = (
    array_codec.decode_array(parts[2]).astype(np.float32) / track_basis.ROUND
  )
  planes = coarse_to_fine.decode(
    byte_strings.WholeNumbers(parts[3]), height, width, step
  )
  whole = byte_strings.decode_whole(parts[5])
  if len(planes) != 3 * basis.shape[1]:
    raise DamagedError(f"{len(planes)} planes of {basis.shape[1]} motions")
  found = track_planes.TrackPlanes(
    basis=np.pad(basis, ((1, 0), (0, 0))),
    planes=_by_axis(planes),
    first=first_points.decode(parts[1]),
    corrected=_decode_numbers(parts[4]),
    corrections=_corrections(whole, correction_step),
    listed=_decode_numbers(parts[6]),
    exact=array_codec.decode_array(parts[7]),
  )
  if found.first.shape != head.shape[1:] or len(found.basis) != frames:
    raise DamagedError(f"tracks of another shape than {head.shape}")
  return found


def valid_points(
  tracks: Float32[np.ndarray, "T H W 3"],
) -> Bool[np.ndarray, "H W"]:
  """True where a point starts at a finite place before the camera."""
  first = tracks[0]
  return np.isfinite(first).all(axis=-1) & (first[:, :, 2] > 0)


@dataclasses.dataclass(frozen=True)
class _Mended:
  """Corrections of points that the planes do not reach."""

  step: float
  corrected: Int[np.ndarray, "C"]
  whole: Int32[np.ndarray, "T 3 C"]
  listed: Int[np.ndarray, "E"]


def _mend(
  tracks: Float32[np.ndarray, "T H W 3"],
  found: track_planes.TrackPlanes,
  finite: Bool[np.ndarray, "H W"],
  tolerance: float,
) -> _Mended:
  """Compares every value with the bound, and what misses it again."""
  step = _CORRECTION * tolerance
  unit = found.first[:, :, 2].reshape(-1)
  wanted = tracks.reshape(len(tracks), -1, 3)
  decoded = found.tracks().reshape(wanted.shape)
  # The true first depth; an error of the decoded one must not widen the bound.
  bound = tolerance * wanted[0, :, 2].astype(np.float64) - _slack(found)
  with np.errstate(all="ignore"):
    error = np.abs(decoded - wanted).max(axis=(0, 2))
    missed = np.flatnonzero(finite.reshape(-1) & ~(error <= bound))
    rest = (wanted[:, missed] - decoded[:, missed].astype(np.float64)) / (
      step * unit[missed, None]
    )
    near = np.abs(rest).max(axis=(0, 2), initial=0.0) < coarse_to_fine.LIMIT
  whole = np.rint(np.where(near[:, None], rest, 0.0)).astype(np.int32)
  whole = np.ascontiguousarray(whole.transpose(0, 2, 1))
  decoded = decoded[:, missed] + _corrections(whole, step) * unit[missed, None]
  with np.errstate(all="ignore"):
    error = np.abs(decoded - wanted[:, missed]).max(axis=(0, 2), initial=0.0)
  near &= error <= bound[missed]
  return _Mended(step, missed[near], whole[:, :, near], missed[~near])


def _slack(
  found: track_planes.TrackPlanes,
) -> Float[np.ndarray, "N"]:
  """Error in metres that another order of float32 sums may cause."""
  count = len(found.planes)
  planes = found.planes.reshape(count, 3, found.first[..., 0].size)
  largest = np.sqrt(np.einsum("kcn,kcn->cn", planes, planes).max(axis=0))
  first = found.first.reshape(-1, 3)
  reach = largest * first[:, 2] + np.abs(first).max(axis=1)
  return (count + 4) * np.finfo(np.float32).eps * reach.astype(np.float64)


def _motion(
  tracks: Float32[np.ndarray, "T H W 3"],
  unit: Float32[np.ndarray, "H W"],
  finite: Bool[np.ndarray, "H W"],
) -> Float32[np.ndarray, "t 3 H W"]:
  """Displacement from frame 0 in first depths; arbitrary where not finite."""
  motion = np.empty((len(tracks) - 1, 3, *unit.shape), np.float32)
  with np.errstate(all="ignore"):
    scale = np.where(finite, 1 / unit, 0)
    for axis in range(3):
      np.subtract(
        tracks[1:, :, :, axis], tracks[0, :, :, axis], out=motion[:, axis]
      )
      motion[:, axis] *= scale
  return motion


def _encode_planes(
  motion: Float32[np.ndarray, "t 3 H W"],
  basis: Float32[np.ndarray, "t K"],
  coded: Bool[np.ndarray, "H W"],
  step: float,
) -> tuple[Int32[np.ndarray, "N n"], Float32[np.ndarray, "K 3 H W"]]:
  """Residuals of the planes, and the planes that a decoder will have."""
  height, width = coded.shape
  flat = motion.reshape(len(motion), 3 * coded.size)
  coefficients = track_basis.project(flat, basis)
  units = coarse_to_fine.quantise(
    coefficients.reshape(3 * basis.shape[1], height, width), step
  )
  misses, found = coarse_to_fine.encode(units, coded)
  return misses, _by_axis(coarse_to_fine.scaled(found, step))


def _by_axis(
  planes: Float32[np.ndarray, "N H W"],
) -> Float32[np.ndarray, "K 3 H W"]:
  return planes.reshape(len(planes) // 3, 3, *planes.shape[1:])


def _corrections(
  whole: Int32[np.ndarray, "T 3 C"], step: float
) -> Float32[np.ndarray, "T C 3"]:
  return (whole * step).astype(np.float32).transpose(0, 2, 1)


def _encode_numbers(numbers: Int[np.ndarray, "C"]) -> bytes:
  steps = np.diff(numbers, prepend=0).astype(np.int32)
  return byte_strings.encode_whole(steps)


def _decode_numbers(blob: bytes) -> Int[np.ndarray, "C"]:
  return byte_strings.decode_whole(blob).cumsum(dtype=np.int64)
