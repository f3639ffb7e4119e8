"""Turns a scene that a reader found into records, alike for all data sets."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from data_pipelines.importers import geometry, media
from data_pipelines.importers import scene as scene_lib
from more4d_jax.data import schema

LEAST_FRAMES = 5
LARGEST_COORDINATE = 500.0
"""Metres or units of the tracker; what lies farther is a failure of its depth
network, or given in another unit."""
_MOSTLY = 0.5  # Share of positions that are too far if the unit is wrong.
_ON_GRID = 1e-3  # Pixels; what float32 rounding leaves of an exact point.
_NEAR_GRID = 1.0  # Pixels; further off a point is not the pixel's.
_OFF_GRID_SHARE = 0.05
_CHECK_MEDIAN = 1.0  # Pixels between imported and the source's 2D tracks.
_CHECK_BEHIND = 0.01  # Of the visible points; sources have a few wrong ones.
_ZOOM = 1.0  # Pixels that a changing camera matrix may move a corner.


@dataclasses.dataclass(frozen=True)
class Clip:
  """A record made of a scene, or why there is none.

  Attributes:
    name: the scene's, with the clip's first frame where it has several.
    record: None if refused.
    notes: what was mended, or why it was refused.
  """

  name: str
  record: schema.Record | None
  notes: tuple[str, ...] = ()


def clips(scene: scene_lib.Scene, frames: int) -> Iterator[Clip]:
  """Yields the records of a scene.

  Args:
    scene: as a reader found it.
    frames: longest clip, 4k + 1. A longer scene gives one clip if it is dense
      (its points are those of frame 0) and consecutive clips if it is sparse.
  """
  try:
    spans, notes = _spans(scene, frames)
  except scene_lib.Refused as reason:
    yield Clip(scene.name, None, (str(reason),))
    return
  for span in spans:
    several = len(spans) > 1
    name = f"{scene.name}-{span.start:05d}" if several else scene.name
    try:
      record, mended = _record(scene, name, span)
    except scene_lib.Refused as reason:
      yield Clip(name, None, (str(reason),))
    else:
      yield Clip(name, record, (*scene.notes, *notes, *mended))


def _spans(
  scene: scene_lib.Scene, frames: int
) -> tuple[list[range], tuple[str, ...]]:
  """Frames of every clip, and what is left out."""
  total = len(scene.tracks)
  longest = min(frames, total)
  length = longest - (longest - 1) % 4
  if length < LEAST_FRAMES:
    raise scene_lib.Refused(
      f"{total} frames; a clip needs at least {LEAST_FRAMES}"
    )
  if scene.grid is None and total >= frames:
    starts = range(0, total - frames + 1, frames)
    spans = [range(start, start + frames) for start in starts]
  else:
    spans = [range(length)]
  left = total - sum(map(len, spans))
  if not left:
    return spans, ()
  return spans, (f"{total} frames; the last {left} are left out",)


def _record(
  scene: scene_lib.Scene, name: str, span: range
) -> tuple[schema.Record, list[str]]:
  notes: list[str] = []
  part = slice(span.start, span.stop)
  intrinsics = _one_camera(scene, part)
  tracks, poses, frame = _first_camera(scene, part)
  tracks = _within_range(tracks, notes)
  own = _own_camera(tracks, poses, frame)
  visible = scene.visible[part].astype(bool)
  pixels = geometry.project(own, intrinsics)
  _compare_positions(scene, part, own, pixels, visible)
  visible = _inside_only(visible, own, pixels, scene.size, notes)
  video, source_size = _video(scene, span)
  depth = _depth(scene, span, len(video))
  fields = {"tracks": None, "visible": None}
  if scene.grid is None:
    points = _points(tracks, own, visible, pixels, scene.size)
    fields["points"] = points
    _points_depth(depth, points)
  else:
    dense, valid = _dense(scene, tracks, intrinsics, notes)
    fields["tracks"] = dense
    fields["visible"] = visible.reshape(dense.shape[:3]) & valid
    _first_depth(depth, dense[0, :, :, 2], notes)
  record = schema.Record(
    id=name,
    caption=scene.caption,
    source=scene.source,
    licence=scene.licence,
    fps=float(scene.fps),
    frame_indices=np.asarray(scene.frame_numbers[part], np.int32),
    video=video,
    depth=depth,
    intrinsics=intrinsics.astype(np.float32),
    world_from_camera=poses.astype(np.float32),
    tracks_frame=frame,
    cameras=scene.cameras,
    segmentation=_segments(scene, span),
    source_size=np.array(source_size, np.int32),
    **fields,
  )
  return record, notes


def _one_camera(scene: scene_lib.Scene, part: slice) -> np.ndarray:
  """The [4] intrinsics of a clip; a record has one camera."""
  intrinsics = np.asarray(scene.intrinsics, np.float64)
  if not (np.isfinite(intrinsics).all() and (intrinsics[..., :2] > 0).all()):
    raise scene_lib.Refused("focal lengths are not positive and finite")
  if intrinsics.ndim == 1:
    return intrinsics
  intrinsics = intrinsics[part]
  height, width = scene.size
  scale = np.abs(intrinsics[:, :2] / intrinsics[0, :2] - 1)
  moved = scale * [width / 2, height / 2]
  moved += np.abs(intrinsics[:, 2:] - intrinsics[0, 2:])
  if moved.max() > _ZOOM:
    raise scene_lib.Refused(
      f"the camera zooms: its matrix moves a corner by {moved.max():.1f} "
      f"pixels during the clip, and a record has one camera"
    )
  return intrinsics[0]


def _first_camera(
  scene: scene_lib.Scene, part: slice
) -> tuple[np.ndarray, np.ndarray, str]:
  """Tracks and poses in the first camera's coordinates where that can be."""
  tracks = scene.tracks[part]
  if scene.world_from_camera is None:
    if scene.axes == "world":
      raise ValueError(f"{scene.name}: tracks in the world, but no poses")
    return tracks, np.tile(np.eye(4), (len(tracks), 1, 1)), "each_camera"
  poses = np.asarray(scene.world_from_camera[part], np.float64)
  turned = poses[:, :3, :3] @ np.swapaxes(poses[:, :3, :3], 1, 2)
  if not np.abs(turned - np.eye(3)).max() < 1e-3:
    raise scene_lib.Refused("the camera poses are not rigid")
  relative = geometry.inverse(poses[:1]) @ poses
  relative[(poses == poses[:1]).all(axis=(1, 2))] = np.eye(4)
  if scene.axes == "camera":
    moved = geometry.transform(tracks.astype(np.float64), relative)
  else:
    first = np.broadcast_to(geometry.inverse(poses[:1]), poses.shape)
    moved = geometry.transform(tracks.astype(np.float64), first)
  return moved, relative, "first_camera"


def _within_range(tracks: np.ndarray, notes: list[str]) -> np.ndarray:
  """Tracks [T N 3] with NaN for positions that are too far."""
  known = np.isfinite(tracks).all(-1)
  reach = np.abs(np.where(known[..., None], tracks, 0)).max(-1)
  far = reach > LARGEST_COORDINATE
  if not far.any():
    return tracks
  if far.sum() > _MOSTLY * known.sum():
    low = np.median(reach[known])
    raise scene_lib.Refused(
      f"its coordinates reach {reach.max():.3g}, {low:.3g} at the median; "
      f"above {LARGEST_COORDINATE:.0f} they are invalid (expected metres)"
    )
  notes.append(
    f"{100 * far.sum() / known.sum():.2g} % of the positions reach up to "
    f"{reach.max():.3g}, above {LARGEST_COORDINATE:.0f}: made unknown"
  )
  return np.where(far[..., None], np.nan, tracks)


def _own_camera(
  tracks: np.ndarray, poses: np.ndarray, frame: str
) -> np.ndarray:
  """Tracks in the coordinates of each frame's camera."""
  if frame == "each_camera":
    return tracks
  return geometry.transform(tracks, geometry.inverse(poses))


def _compare_positions(
  scene: scene_lib.Scene,
  part: slice,
  own: np.ndarray,
  found: np.ndarray,
  visible: np.ndarray,
) -> None:
  if scene.positions is None:
    return
  wanted = scene.positions[part]
  known = visible & np.isfinite(wanted).all(-1) & np.isfinite(found).all(-1)
  if not known.any():
    return
  error = np.linalg.norm(found - wanted, axis=-1)[known]
  behind = (own[..., 2][known] <= 0).mean()
  if not np.median(error) <= _CHECK_MEDIAN or behind > _CHECK_BEHIND:
    raise scene_lib.Refused(
      f"its tracks land {np.median(error):.1f} pixels (median) off the "
      f"source's own 2D tracks; the file follows another convention"
    )


def _inside_only(
  visible: np.ndarray,
  own: np.ndarray,
  pixels: np.ndarray,
  size: tuple[int, int],
  notes: list[str],
) -> np.ndarray:
  """Hides what is behind the camera or outside the picture."""
  with np.errstate(invalid="ignore"):
    inside = ((pixels >= 0) & (pixels <= [size[1], size[0]])).all(-1)
    wrong = visible & np.isfinite(own).all(-1) & ~(inside & (own[..., 2] > 0))
  if wrong.any():
    share = 100 * wrong.sum() / visible.sum()
    notes.append(f"{share:.2g} % of what is visible lies outside: hidden")
  return visible & ~wrong


def _video(
  scene: scene_lib.Scene, span: range
) -> tuple[np.ndarray, tuple[int, int]]:
  if scene.frames is not None:
    video = scene.frames(span)
  elif scene.first_picture is not None and span.start == 0:
    video = scene.first_picture[None]
  else:
    raise scene_lib.Refused("there is no video")
  size = video.shape[1:3]
  resized = media.resized(np.ascontiguousarray(video), scene.size)
  return resized, (0, 0) if scene.frames is None else size


def _depth(scene: scene_lib.Scene, span: range, count: int) -> np.ndarray:
  """[count H W] float32, NaN where unknown."""
  if scene.depth is None:
    return np.full((count, *scene.size), np.nan, np.float32)
  depth = np.asarray(scene.depth(span[:count]), np.float32)
  depth = media.nearest(depth, scene.size)
  known = np.isfinite(depth) & (depth > 0) & (depth <= LARGEST_COORDINATE)
  return np.where(known, depth, np.float32(np.nan))


def _dense(
  scene: scene_lib.Scene,
  tracks: np.ndarray,
  intrinsics: np.ndarray,
  notes: list[str],
) -> tuple[np.ndarray, np.ndarray]:
  """Tracks [T H W 3] float32 that start on their pixels' rays, and [H W]."""
  first = tracks[0]
  begun = np.isfinite(first).all(-1) & (first[:, 2] > 0)
  valid = begun & np.isfinite(tracks).all((0, 2))
  if not valid.any():
    raise scene_lib.Refused("no point has a finite track and positive depth")
  if not begun.all():
    share = 100 * (~begun).mean()
    notes.append(f"{share:.2g} % of the points have no first position: invalid")
  lost = (begun & ~valid).sum() / len(begun)
  if lost:
    notes.append(f"{100 * lost:.2g} % of the tracks break off: made invalid")
  rays = geometry.pixel_grid(*scene.grid).reshape(-1, 2)
  off = np.full(len(first), np.inf)
  found = geometry.project(first[None], intrinsics)[0]
  off[valid] = np.linalg.norm(found - rays, axis=-1)[valid]
  strays = valid & (off > _NEAR_GRID)
  if strays.sum() > _OFF_GRID_SHARE * valid.sum():
    raise scene_lib.Refused(
      f"the first frame's points do not lie on the pixels of a "
      f"{scene.grid[0]}x{scene.grid[1]} grid: off by "
      f"{np.median(off[valid]):.3g} pixels (median)"
    )
  valid &= ~strays
  if strays.any():
    notes.append(f"{strays.sum()} tracks start off their pixel: made invalid")
  if off[valid].max() > _ON_GRID:
    notes.append(
      f"tracks start up to {off[valid].max():.2g} pixels off their pixels' "
      f"centres: each is moved onto its ray as a whole"
    )
    ray = geometry.unproject(rays[None], first[None, :, 2], intrinsics)[0]
    tracks = tracks + (ray - first)
    tracks[0] = ray
  dense = np.where(valid[:, None], tracks, np.nan).astype(np.float32)
  return dense.reshape(-1, *scene.grid, 3), valid.reshape(scene.grid)


def _first_depth(
  depth: np.ndarray, tracks_depth: np.ndarray, notes: list[str]
) -> None:
  """Makes the first depth map that of the tracks, which are the truth."""
  both = np.isfinite(depth[0]) & np.isfinite(tracks_depth)
  if both.any():
    apart = np.median(np.abs(depth[0][both] / tracks_depth[both] - 1))
    if apart > 0.01:
      notes.append(
        f"first depth map and tracks differ by {100 * apart:.2g} % (median): "
        f"the tracks' depth is kept"
      )
  known = np.isfinite(tracks_depth)
  depth[0] = np.where(known, tracks_depth, depth[0])


def _points(
  tracks: np.ndarray,
  own: np.ndarray,
  visible: np.ndarray,
  pixels: np.ndarray,
  size: tuple[int, int],
) -> schema.Points:
  """Points that are seen at least once; their query is the first such frame."""
  known = np.isfinite(tracks).all(-1)
  inside = (pixels >= 0) & (pixels < [size[1], size[0]])
  seen = visible & known
  usable = seen & inside.all(-1) & (own[..., 2] > 0)
  kept = usable.any(0)
  if not kept.any():
    raise scene_lib.Refused("no point is seen inside the picture")
  query = usable[:, kept].argmax(0)
  tracks = np.where(known[..., None], tracks, np.nan)[:, kept]
  return schema.Points(
    pixels=pixels[:, kept][query, np.arange(len(query))].astype(np.float32),
    query_frames=query.astype(np.int32),
    tracks=tracks.astype(np.float32),
    visible=seen[:, kept],
  )


def _points_depth(depth: np.ndarray, points: schema.Points) -> None:
  """Where there is no depth map, the first frame gets its points' depth."""
  if np.isfinite(depth[0]).any():
    return
  first = points.query_frames == 0
  columns, rows = points.pixels[first].astype(int).T
  depth[0][rows, columns] = points.tracks[0, first, 2]


def _segments(scene: scene_lib.Scene, span: range) -> np.ndarray:
  if scene.segments is not None and span.start == 0:
    return scene.segments.astype(np.uint8)
  return np.full(scene.size, schema.UNKNOWN_SEGMENT, np.uint8)
