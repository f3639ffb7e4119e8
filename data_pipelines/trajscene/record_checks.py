"""Checks that every record must pass, whatever it shows."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from data_pipelines.trajscene import projection
from more4d_jax.data import records

_PIXELS = 1e-3  # Reprojection of frame 0 without loss; it is below 1e-4.
_QUERY_PIXELS = 0.5  # Public sparse tracks start within half a pixel.
_OUTSIDE_PIXELS = 1.0  # How far outside the picture a visible point may be.
_RELATIVE_DEPTH = 1e-3  # Between depth map and tracks of frame 0.
_FARTHEST = 505.0  # Metres; the importers' 500 and the error of codecs.
_ROTATION = 1e-4  # Float32 rotations deviate by 1e-6 from orthonormal.


@dataclasses.dataclass(frozen=True)
class Precision:
  """How exactly a record was kept.

  Attributes:
    tracks: bound of a coordinate's error in units of the first depth.
    depth: bound of the relative error.
  """

  tracks: float = 0.0
  depth: float = 0.0

  @classmethod
  def of(cls, header: Mapping[str, Any]) -> "Precision":
    """That of an encoded record; see `records.read_header`."""
    kept = header["options"]
    return cls(kept["tracks_tolerance"] or 0.0, kept["depth_tolerance"] or 0.0)


def valid_points(record: records.Record) -> Bool[np.ndarray, "H W"]:
  """Where a dense record's first frame has a finite positive depth."""
  depth = record.tracks[0, :, :, 2]
  return np.isfinite(depth) & (depth > 0)


def problems(
  record: records.Record, precision: Precision | None = None
) -> Iterator[str]:
  """Sentences about what cannot be true of a scene; none if all is well.

  Args:
    record: one that follows the schema.
    precision: how exactly it was kept; exactly unless given.
  """
  precision = precision or Precision()
  fx, fy, cx, cy = record.intrinsics.tolist()
  if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
    yield f"intrinsics {record.intrinsics.tolist()}; focal lengths must be > 0"
    return
  yield from _time_problems(record)
  yield from _pose_problems(record)
  depth = record.depth[np.isfinite(record.depth)]
  if depth.size and depth.min() <= 0:
    yield f"depth goes down to {depth.min():.3g}; unknown depth is NaN"
  yield from _range_problems(record)
  if record.sparse:
    yield from _sparse_problems(record, precision)
  else:
    yield from _dense_problems(record, precision)


def _range_problems(record: records.Record) -> Iterator[str]:
  """Positions and depths that only a failed tracker gives."""
  tracks = record.points.tracks if record.sparse else record.tracks
  for name, values in (("tracks", tracks), ("depth", record.depth)):
    far = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    if far > _FARTHEST:
      yield (
        f"{name} reach {far:.3g}; above 500 they are failures of a tracker, or "
        f"given in another unit than metres"
      )


def _time_problems(record: records.Record) -> Iterator[str]:
  if not (np.isfinite(record.fps) and record.fps > 0):
    yield f"fps is {record.fps}; expected a positive number"
  if (np.diff(record.frame_indices) <= 0).any():
    yield "frame_indices do not increase"


def _pose_problems(record: records.Record) -> Iterator[str]:
  films = {"": record.world_from_camera}
  films |= {
    f"view {n}: ": v.world_from_camera for n, v in enumerate(record.views)
  }
  films |= {
    f"rendering {n}: ": r.world_from_camera
    for n, r in enumerate(record.renderings)
  }
  for name, poses in films.items():
    rotations = poses[:, :3, :3].astype(np.float64)
    error = np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)).max()
    if not error <= _ROTATION or not (np.linalg.det(rotations) > 0).all():
      yield f"{name}camera rotations are no rotations (off by {error:.3g})"
    elif not np.isfinite(poses).all() or (poses[:, 3] != [0, 0, 0, 1]).any():
      yield f"{name}camera poses are no rigid transforms"
  if not np.allclose(record.world_from_camera[0], np.eye(4), atol=_ROTATION):
    yield "the first camera is not the identity"
  if (
    record.cameras == "unknown"
    and (record.world_from_camera != np.eye(4, dtype=np.float32)).any()
  ):
    yield "cameras are unknown, but their poses are not the identity"


def _dense_problems(
  record: records.Record, precision: Precision
) -> Iterator[str]:
  valid = valid_points(record)
  if not valid.any():
    yield "no point has a positive depth in the first frame"
    return
  tracks = record.tracks[:, valid].astype(np.float64)
  if not np.isfinite(tracks).all():
    yield f"{int((~np.isfinite(tracks)).sum())} values of valid points are NaN"
  if record.visible[:, ~valid].any():
    count = int(record.visible[:, ~valid].any(axis=0).sum())
    yield f"{count} points without a first depth are marked visible"
  height, width = valid.shape
  rows, columns = np.mgrid[:height, :width] + 0.5
  own = projection.in_cameras(record, tracks)
  seen = projection.pixels(record, own)
  centres = np.stack([columns, rows], axis=-1)[valid]
  off = np.linalg.norm(seen[0] - centres, axis=-1).max()
  slack = _codec_pixels(record, precision)
  if not off <= _PIXELS + slack:
    yield f"frame 0 reprojects {off:.3g} pixels off the grid"
  mapped = record.depth[0][valid]
  known = np.isfinite(mapped)
  far = np.abs(mapped[known] / tracks[0, known, 2] - 1).max(initial=0.0)
  if not far <= _RELATIVE_DEPTH + precision.tracks + precision.depth:
    yield f"depth and tracks of frame 0 differ by {100 * far:.3g} %"
  if record.cameras == "exact":
    yield from _visible_problems(
      record, (own, seen), record.visible[:, valid], slack
    )


def _codec_pixels(record: records.Record, precision: Precision) -> float:
  """How far the codec may move a point of the first frame in the picture."""
  corner = np.hypot(*(np.array(record.shape[1:]) / record.intrinsics[:2]))
  focal = float(record.intrinsics[:2].max())
  return 1.5 * precision.tracks * focal * float(1 + corner)


def _visible_problems(record, places, visible, slack) -> Iterator[str]:
  """Visible points lie before the camera and inside the picture."""
  own, seen = places
  height, width = record.shape[1:]
  first = own[0, ..., 2]
  with np.errstate(invalid="ignore", divide="ignore"):
    # The codec's bound is in units of the first depth.
    margin = _OUTSIDE_PIXELS + slack * first / own[..., 2]
    inside = (own[..., 2] > 0) & (seen[..., 0] >= -margin)
    inside &= (seen[..., 0] <= width + margin) & (seen[..., 1] >= -margin)
    inside &= seen[..., 1] <= height + margin
  wrong = int((visible & ~inside).sum())
  if wrong:
    yield f"{wrong} visible places lie outside the picture of their frame"


def _sparse_problems(
  record: records.Record, precision: Precision
) -> Iterator[str]:
  points = record.points
  if not len(points.pixels):
    yield "no points"
    return
  finite = np.isfinite(points.tracks).all(axis=-1)
  if (points.visible & ~finite).any():
    count = int((points.visible & ~finite).sum())
    yield f"{count} places are visible, but their position is unknown"
  if record.cameras == "unknown":
    return
  own = projection.in_cameras(record, points.tracks)
  seen = projection.pixels(record, own)
  asked = (points.query_frames, np.arange(len(points.pixels)))
  there = finite[asked]
  off = np.linalg.norm(seen[asked] - points.pixels, axis=-1)[there]
  limit = _QUERY_PIXELS + _codec_pixels(record, precision)
  if off.size and not off.max() <= limit:
    yield f"points are up to {off.max():.3g} pixels off where they are asked"
