"""Numbers by which a record is kept or refused; pure functions of a record.

The paper refuses samples in which many tracks have near-infinite or zero depth
at some time, whose depth spreads too far, or whose cloud gives another picture
from the original camera once it is scaled (docs/method/data.md#curation); it
states no thresholds. The other measures are ours
(docs/method/data.md#quality-measures).
"""

import dataclasses
import itertools
from typing import Any

import numpy as np
from PIL import Image

from more4d_jax.data import schema

# The original's reader refuses depths beyond it
# (docs/method/trajectories.md#normalisation).
_FAR = 500.0
_NEAR = 1e-3  # Share of the median depth below which a depth counts as zero.
_BAR = 24  # Largest brightness and spread, of 255, of a letterbox.
_SAME = 0.5  # Mean difference, of 255, of frames that count as the same.
_FLAT = 3.0  # Spread, of 255, of a frame that shows nothing.
_SCALES = (0.5, 2.0)
_LOOKS = 3  # Frames that are rendered, and that a hash is made of.
_HASH = 8  # A hash of a frame has the square of it bits.


@dataclasses.dataclass(frozen=True)
class Paths:
  """The tracks of a record, dense or sparse, as one list of points.

  Attributes:
    tracks: [T N 3] in the axes of the record; NaN where unknown.
    own: [T N 3] in each frame's camera.
    visible: [T N].
    asked: [N 2], pixel of each point in its query frame.
    query: [N] frame in which.
  """

  tracks: np.ndarray
  own: np.ndarray
  visible: np.ndarray
  asked: np.ndarray
  query: np.ndarray

  @property
  def depth(self) -> np.ndarray:
    """[N] depth in the query frame, NaN where it is not positive."""
    depth = self.own[self.query, np.arange(len(self.query)), 2]
    return np.where(depth > 0, depth, np.nan)


def measure(record: schema.Record) -> dict[str, Any]:
  """All measures of a record, ready for JSON.

  Returns: the names of `curation.FILTERS` but the duplicates, and `hash`, the
    perceptual hash as hexadecimal text.
  """
  paths = paths_of(record)
  return {
    "invalid_depth": invalid_depth(paths),
    "depth_spread": depth_spread(paths),
    "scale": scale_inconsistency(record, paths),
    "visible": visible_share(paths),
    "motion": motion_energy(paths),
    "jerk": jerk(paths),
    "reprojection": reprojection(record, paths),
    "letterbox": letterbox(record.video),
    "frozen": frozen(record.video),
    "flat": flat(record.video),
    "hash": perceptual_hash(record.video),
  }


def paths_of(record: schema.Record) -> Paths:
  """Dense tracks without their grid, or sparse ones."""
  frames, height, width = record.shape
  if record.points is None:
    tracks = record.tracks.reshape(frames, -1, 3).astype(np.float64)
    rows, columns = np.mgrid[:height, :width] + 0.5
    asked = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    query = np.zeros(len(asked), int)
    visible = record.visible.reshape(frames, -1)
  else:
    points = record.points
    tracks = points.tracks.astype(np.float64)
    asked, visible = points.pixels, points.visible
    query = points.query_frames.astype(int)
  own = tracks
  if record.tracks_frame == "first_camera":
    poses = record.world_from_camera.astype(np.float64)
    moved = tracks - poses[:, None, :3, 3]
    own = moved @ poses[:, :3, :3]  # By the transposed, inverse rotation.
  return Paths(tracks, own, visible, asked, query)


def invalid_depth(paths: Paths) -> float:
  """Share of points that are unknown, at zero depth or nearly infinite.

  Sparse points may be unknown while nobody sees them; a dense path that is
  not finite at any time counts.
  """
  z = paths.own[..., 2]
  known = np.isfinite(z)
  usable = known & (z > 0)
  if not usable.any():
    return 1.0
  middle = np.median(z[usable])
  bad = known & ((np.abs(z) < _NEAR * middle) | (z > _FAR))
  return float((bad.any(0) | ~np.isfinite(paths.depth)).mean())


def depth_spread(paths: Paths) -> float:
  """Standard deviation of all depths over their median."""
  z = paths.own[..., 2]
  z = z[np.isfinite(z) & (z > 0)]
  return float(z.std() / np.median(z)) if z.size else 0.0


def visible_share(paths: Paths) -> float:
  """Share of places in time in which valid points are seen."""
  valid = np.isfinite(paths.depth)
  return float(paths.visible[:, valid].mean()) if valid.any() else 0.0


def motion_energy(paths: Paths) -> float:
  """How far the twentieth of the points that moves most goes, over its depth.

  The 95 % quantile over points of their mean distance from where they began,
  because the rest of a scene may well stand still.
  """
  begin = paths.tracks[paths.query, np.arange(len(paths.query))]
  away = np.linalg.norm(paths.tracks - begin, axis=-1)
  far = _mean_over_time(away) / paths.depth
  far = far[np.isfinite(far)]
  return float(np.quantile(far, 0.95)) if far.size else 0.0


def jerk(paths: Paths) -> float:
  """Third difference in time over the depth, mean of the roughest twentieth.

  Steady motion has none, trackers that tremble have much.
  """
  if len(paths.tracks) < 4:
    return 0.0
  third = np.linalg.norm(np.diff(paths.tracks, n=3, axis=0), axis=-1)
  rough = _mean_over_time(third) / paths.depth
  rough = np.sort(rough[np.isfinite(rough)])
  return float(rough[int(0.95 * len(rough)) :].mean()) if rough.size else 0.0


def reprojection(record: schema.Record, paths: Paths) -> float:
  """Reprojection error in pixels in the query frame, 95 % quantile."""
  fx, fy, cx, cy = record.intrinsics.astype(np.float64)
  point = paths.own[paths.query, np.arange(len(paths.query))]
  with np.errstate(divide="ignore", invalid="ignore"):
    found = point[:, :2] / point[:, 2:] * [fx, fy] + [cx, cy]
  off = np.linalg.norm(found - paths.asked, axis=-1)
  off = off[np.isfinite(off) & np.isfinite(paths.depth)]
  return float(np.quantile(off, 0.95)) if off.size else 0.0


def scale_inconsistency(record: schema.Record, paths: Paths) -> float:
  """Share of pixels that change when the cloud is scaled as a whole.

  From the original camera a cloud and the same cloud at half or double size
  look alike. Points at the camera, nearly infinite ones and numbers out of
  float32's range do not. Rendered in a few frames; a pixel changes if its
  coverage does or its colour by more than 2 of 255.
  """
  if record.points is not None:
    return 0.0  # Chosen points are no picture.
  colours = record.video[0].reshape(-1, 3).astype(np.float32)
  changed = []
  for frame in _spread(len(paths.own), _LOOKS):
    first = _render(record, paths.own[frame], colours, 1.0)
    for scale in _SCALES:
      other = _render(record, paths.own[frame], colours, scale)
      apart = np.abs(first[0] - other[0]).max(-1) > 2
      changed.append((apart | (first[1] != other[1])).mean())
  return float(np.max(changed))


def _render(
  record: schema.Record, own: np.ndarray, colours: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
  """Picture [H W 3] and coverage [H W] of a cloud in camera axes."""
  import jax.numpy as jnp

  from more4d_jax.rendering import zbuffer

  _, height, width = record.shape
  points = (own * scale).astype(np.float32)
  # Each point is as large as its pixel at its first depth.
  size = np.nan_to_num(np.abs(points[:, 2:])) / record.intrinsics[:2] / 2
  picture, _, covered = zbuffer.render_points(
    jnp.asarray(points),
    jnp.asarray(colours),
    jnp.eye(4),
    jnp.asarray(record.intrinsics),
    height,
    width,
    footprint=jnp.asarray(size.astype(np.float32)),
  )
  return np.asarray(picture), np.asarray(covered)


def letterbox(video: np.ndarray) -> float:
  """Share of the picture that dark bars at its edges take in all frames."""
  looks = video[_spread(len(video), _LOOKS)]
  dark = (looks <= _BAR).all((0, 3))  # [H W]
  rows, columns = dark.all(1), dark.all(0)
  height, width = dark.shape
  shown_rows = height - _run(rows) - _run(rows[::-1])
  shown_columns = width - _run(columns) - _run(columns[::-1])
  if shown_rows <= 0 or shown_columns <= 0:
    return 1.0
  return 1 - shown_rows * shown_columns / (height * width)


def _run(flags: np.ndarray) -> int:
  """Number of True values before the first False."""
  return len(flags) if flags.all() else int(np.argmin(flags))


def frozen(video: np.ndarray) -> float:
  """Share of frames that are the same as the one before."""
  if len(video) < 2:
    return 0.0
  pairs = [
    np.abs(after.astype(np.int16) - before).mean() < _SAME
    for before, after in itertools.pairwise(video)
  ]
  return float(np.mean(pairs))


def flat(video: np.ndarray) -> float:
  """Share of frames of one colour."""
  return float(np.mean([frame.std((0, 1)).max() < _FLAT for frame in video]))


def perceptual_hash(video: np.ndarray) -> str:
  """192 bits: where brightness rises from left to right in small frames.

  Survives resizing, compression and small changes of colour.
  """
  bits = []
  for frame in video[_spread(len(video), _LOOKS)]:
    small = Image.fromarray(frame).convert("L")
    small = small.resize((_HASH + 1, _HASH), Image.Resampling.BOX)
    values = np.asarray(small).astype(np.int16)
    bits.append((values[:, 1:] > values[:, :-1]).ravel())
  return np.packbits(np.concatenate(bits)).tobytes().hex()


def _spread(count: int, number: int) -> np.ndarray:
  """Indices of `number` frames from the first to the last; may repeat."""
  return np.linspace(0, count - 1, number).round().astype(int)


def _mean_over_time(values: np.ndarray) -> np.ndarray:
  """[T N] to [N], without what is unknown; NaN where all is."""
  known = np.isfinite(values)
  count = known.sum(0)
  total = np.where(known, values, 0).sum(0)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)
