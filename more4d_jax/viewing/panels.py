"""Videos side by side, trajectories as coloured trails, depth and motion.

Everything returns RGB uint8 videos [T H W 3].
"""

import colorsys
import dataclasses
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Bool, Float, UInt8

from more4d_jax.viewing import video as video_lib

_GAP = 4  # Pixels between panels.
_LABEL = 16  # Height of a line of text.
_PAPER, _INK = 255, (20, 20, 20)


@dataclasses.dataclass(frozen=True)
class TrailOptions:
  """How trajectories are drawn.

  Attributes:
    factor: enlargement of the picture.
    points: approximate number of trails, on a regular grid of the picture.
    tail: frames that a trail reaches back; 0 for all.
    fade: share of the picture's colour that stays behind the trails.
  """

  factor: int = 4
  points: int = 300
  tail: int = 0
  fade: float = 0.45


def side_by_side(
  videos: Sequence[UInt8[np.ndarray, "T _ _ 3"]],
  labels: Sequence[str] | None = None,
) -> UInt8[np.ndarray, "T H W 3"]:
  """Puts videos of equal length in a row, each under its label.

  Shorter panels are filled up with white below.
  """
  if labels is not None and len(labels) != len(videos):
    raise ValueError(f"{len(videos)} videos but {len(labels)} labels")
  frames = {len(v) for v in videos}
  if len(frames) != 1:
    raise ValueError(f"videos of equal length are needed, found {frames}")
  if labels is not None:
    videos = [with_label(v, name) for v, name in zip(videos, labels)]
  height = max(v.shape[1] for v in videos)
  parts = []
  for index, panel in enumerate(videos):
    gap = _GAP if index + 1 < len(videos) else 0
    fill = [(0, 0), (0, height - panel.shape[1]), (0, gap), (0, 0)]
    parts.append(np.pad(panel, fill, constant_values=_PAPER))
  return np.concatenate(parts, axis=2)


def stacked(
  videos: Sequence[UInt8[np.ndarray, "T _ _ 3"]],
) -> UInt8[np.ndarray, "T H W 3"]:
  """Puts videos of equal length below each other, left aligned."""
  turned = [np.swapaxes(v, 1, 2) for v in videos]
  return np.swapaxes(side_by_side(turned), 1, 2)


def with_label(
  panel: UInt8[np.ndarray, "T H W 3"], text: str
) -> UInt8[np.ndarray, "T h W 3"]:
  """Adds a line of text above a video."""
  line = PIL.Image.new("RGB", (panel.shape[2], _LABEL), (_PAPER,) * 3)
  PIL.ImageDraw.Draw(line).text((2, 2), text, fill=_INK)
  line = np.broadcast_to(np.asarray(line), (len(panel), *line.size[::-1], 3))
  return np.concatenate([line, panel], axis=1)


def project_tracks(
  tracks: Float[np.ndarray, "T H W 3"], intrinsics: Float[np.ndarray, "4"]
) -> tuple[Float[np.ndarray, "T H W 2"], Bool[np.ndarray, "T H W"]]:
  """Pixel positions in the first camera, and whether they are before it."""
  tracks = tracks.astype(np.float32)
  ahead = np.isfinite(tracks).all(-1) & (tracks[..., 2] > 1e-6)
  safe = np.where(ahead[..., None], tracks, 1.0)
  xy = intrinsics[:2] * safe[..., :2] / safe[..., 2:] + intrinsics[2:]
  return xy.astype(np.float32), ahead


def trails(
  picture: UInt8[np.ndarray, "H W 3"],
  tracks: Float[np.ndarray, "T H W 3"],
  intrinsics: Float[np.ndarray, "4"],
  options: TrailOptions | None = None,
  *,
  visible: Bool[np.ndarray, "T H W"] | None = None,
) -> UInt8[np.ndarray, "T h w 3"]:
  """Trajectories over the faded first frame, seen from the first camera.

  A trail's colour tells where it starts: hue from left to right, lightness
  from top to bottom. Its head is a dot; hidden heads are hollow.
  """
  options = options or TrailOptions()
  xy, ahead = project_tracks(tracks, intrinsics)
  rows, columns = _grid(picture.shape[:2], options.points)
  xy = xy[:, rows, columns] * options.factor  # [T P 2]
  ahead = ahead[:, rows, columns]
  shown = ahead if visible is None else ahead & visible[:, rows, columns]
  colours = _position_colours(rows, columns, picture.shape[:2])
  base = picture * options.fade + _PAPER * (1 - options.fade)
  base = video_lib.enlarge(base.astype(np.uint8)[None], options.factor)[0]
  frames = []
  for t in range(len(xy)):
    start = max(0, t - options.tail) if options.tail else 0
    canvas = PIL.Image.fromarray(base)
    draw = PIL.ImageDraw.Draw(canvas)
    for p in np.flatnonzero(ahead[start : t + 1].all(axis=0)):
      _draw_trail(draw, xy[start : t + 1, p], colours[p], shown[t, p])
    frames.append(np.asarray(canvas))
  return np.stack(frames)


def predicted_and_true(
  picture: UInt8[np.ndarray, "H W 3"],
  predicted: Float[np.ndarray, "T H W 3"],
  true: Float[np.ndarray, "T H W 3"],
  intrinsics: Float[np.ndarray, "4"],
  options: TrailOptions | None = None,
) -> UInt8[np.ndarray, "T h w 3"]:
  """Predicted and true trails, and the colour-coded motion of both below."""
  options = options or TrailOptions()
  pair = predicted.astype(np.float32), true.astype(np.float32)
  reach = _reach(pair[1]) or _reach(pair[0]) or 1.0
  rows = []
  for tracks, name in zip(pair, ("predicted", "true")):
    drawn = trails(picture, tracks, intrinsics, options)
    motion = video_lib.enlarge(motion_colours(tracks, reach), options.factor)
    rows.append(
      stacked([with_label(drawn, name), with_label(motion, f"{name} motion")])
    )
  return side_by_side(rows)


def motion_colours(
  tracks: Float[np.ndarray, "T H W 3"], reach: float | None = None
) -> UInt8[np.ndarray, "T H W 3"]:
  """Displacement from frame 0 as colour: x red, y green, z blue.

  Mid grey is no motion.

  Args:
    tracks: metres.
    reach: displacement in metres that gives full colour; the largest one by
      default.
  """
  tracks = tracks.astype(np.float32)
  reach = reach or _reach(tracks) or 1.0
  moved = np.nan_to_num(tracks - tracks[:1]) / reach
  return np.rint(127.5 + 127.5 * moved.clip(-1, 1)).astype(np.uint8)


def depth_colours(
  depth: Float[np.ndarray, "T H W"],
  limits: tuple[float, float] | None = None,
) -> UInt8[np.ndarray, "T H W 3"]:
  """Depth as colour, near red and far blue; black where it is not valid.

  Args:
    depth: metres.
    limits: nearest and farthest depth of the colour scale; by default the
      range of the valid depths.
  """
  import matplotlib

  valid = np.isfinite(depth) & (depth > 0)
  if not valid.any():
    return np.zeros((*depth.shape, 3), np.uint8)
  near, far = limits or (depth[valid].min(), depth[valid].max())
  inverse = 1.0 / np.where(valid, depth, 1.0)
  span = max(1.0 / near - 1.0 / far, 1e-9)
  colour = matplotlib.colormaps["turbo"](
    ((inverse - 1.0 / far) / span).clip(0, 1)
  )
  colour = np.rint(colour[..., :3] * 255) * valid[..., None]
  return colour.astype(np.uint8)


def show_holes(
  video: UInt8[np.ndarray, "T H W 3"],
  coverage: Bool[np.ndarray, "T H W"],
  colour: tuple[int, int, int] = (255, 0, 255),
) -> UInt8[np.ndarray, "T H W 3"]:
  """Paints the pixels without coverage."""
  paint = np.asarray(colour, np.uint8)
  return np.where(coverage[..., None], video, paint)


def _reach(tracks: Float[np.ndarray, "T H W 3"]) -> float:
  """Largest finite displacement along an axis."""
  return float(
    np.abs(np.nan_to_num(tracks - tracks[:1], posinf=0, neginf=0)).max()
  )


def _grid(size: tuple[int, int], points: int) -> tuple[np.ndarray, np.ndarray]:
  """Rows and columns of about `points` pixels, evenly spread."""
  height, width = size
  step = max(1, round((height * width / max(points, 1)) ** 0.5))
  rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
  return rows.ravel(), columns.ravel()


def _position_colours(
  rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]
) -> list[tuple[int, int, int]]:
  colours = []
  for row, column in zip(rows / size[0], columns / size[1]):
    rgb = colorsys.hls_to_rgb(0.85 * column, 0.35 + 0.25 * row, 0.9)
    colours.append(tuple(round(255 * value) for value in rgb))
  return colours


def _draw_trail(
  draw: PIL.ImageDraw.ImageDraw,
  line: Float[np.ndarray, "T 2"],
  colour: tuple[int, int, int],
  filled: np.bool_,
) -> None:
  points = [tuple(map(float, p)) for p in line.clip(-1e4, 1e4)]
  if len(points) > 1:
    draw.line(points, fill=colour, width=1)
  x, y = points[-1]
  box = (x - 1.5, y - 1.5, x + 1.5, y + 1.5)
  draw.ellipse(box, fill=colour if filled else None, outline=colour)
