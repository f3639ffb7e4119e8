"""Pictures of records: film, depth, the ways of points, what is visible."""

import colorsys

import mediapy
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from data_pipelines.trajscene import projection
from more4d_jax.data import records

CAPTION_HEIGHT = 16
_PANEL_HEIGHT = 192  # Pixels, at least; small grids are magnified.
_TRAILS = 16  # Tracks drawn across the width of a panel.
_MOST_TRAILS = 400
_HIDDEN = np.uint8([160, 0, 0])


def record_row(
  record: records.Record,
) -> UInt8[np.ndarray, "T h w 3"]:
  """Picture, depth (near is bright), trails and visibility of each frame."""
  frames, height, _ = record.shape
  scale = max(1, -(-_PANEL_HEIGHT // height))
  still = np.zeros(frames, int) if record.light else np.arange(frames)
  depth = _depth_pictures(record.depth)[still]
  picture = record.video[still]
  panels = [_magnify(panel, scale) for panel in (picture, depth)]
  panels.append(_trails(record, panels[0], scale))
  if not record.sparse:  # Visibility of points without a grid is no picture.
    shown = np.where(record.visible[..., None], record.video[:1], _HIDDEN)
    panels.append(_magnify(shown.astype(np.uint8), scale))
  return np.concatenate(panels, axis=2)


def _depth_pictures(
  depth: Float[np.ndarray, "V H W"],
) -> UInt8[np.ndarray, "V H W 3"]:
  """Inverse depth in colours, from blue (far) to red (near); black unknown."""
  valid = np.isfinite(depth) & (depth > 0)
  inverse = np.where(valid, 1 / np.where(valid, depth, 1), 0)
  low, high = (
    np.quantile(inverse[valid], [0.01, 0.99]) if valid.any() else (0, 1)
  )
  colours = mediapy.to_rgb(
    inverse, vmin=low, vmax=max(high, low + 1e-9), cmap="turbo"
  )
  return np.where(valid[..., None], mediapy.to_uint8(colours), np.uint8(0))


def _magnify(
  video: UInt8[np.ndarray, "T H W 3"], scale: int
) -> UInt8[np.ndarray, "T h w 3"]:
  return video.repeat(scale, axis=1).repeat(scale, axis=2)


def _drawn_points(
  record: records.Record,
) -> tuple[Float[np.ndarray, "T P 2"], Bool[np.ndarray, "T P"]]:
  """Pixels and visibility of some points, evenly spread."""
  frames, _, width = record.shape
  if record.sparse:
    step = max(1, len(record.points.pixels) // _MOST_TRAILS)
    tracks = record.points.tracks[:, ::step]
    visible = record.points.visible[:, ::step]
  else:
    step = max(1, width // _TRAILS)
    grid = (slice(None), *[slice(step // 2, None, step)] * 2)
    tracks = record.tracks[grid].reshape(frames, -1, 3)
    visible = record.visible[grid].reshape(frames, -1)
  own = projection.in_cameras(record, tracks)
  return projection.pixels(record, own), visible


def _trails(
  record: records.Record, picture: UInt8[np.ndarray, "T h w 3"], scale: int
) -> UInt8[np.ndarray, "T h w 3"]:
  """The way each point has come, over the darkened picture."""
  pixels, visible = _drawn_points(record)
  return np.stack(
    [
      _trails_until(frame, pixels[: t + 1] * scale, visible[t])
      for t, frame in enumerate(picture)
    ]
  )


def _trails_until(
  picture: UInt8[np.ndarray, "h w 3"],
  pixels: Float[np.ndarray, "T P 2"],
  visible: Bool[np.ndarray, "P"],
) -> UInt8[np.ndarray, "h w 3"]:
  """Ends of trails are dots, hollow where the point is hidden."""
  pixels = np.clip(pixels, -1e4, 1e4)
  image = Image.fromarray(picture // 2)
  brush = ImageDraw.Draw(image)
  for point, hue in enumerate(
    np.linspace(0, 1, pixels.shape[1], endpoint=False)
  ):
    colour = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 1, 1))
    trail = pixels[:, point]
    if not np.isfinite(trail).all():
      continue
    x, y = trail[-1]
    brush.line([tuple(p) for p in trail], fill=colour)
    fill, size = (colour, 1) if visible[point] else (None, 2)
    brush.ellipse(
      (x - size, y - size, x + size, y + size), fill=fill, outline=colour
    )
  return np.asarray(image)


def captioned(
  pictures: UInt8[np.ndarray, "T h w 3"], text: str
) -> UInt8[np.ndarray, "T H w 3"]:
  """Pictures below a line of text."""
  line = Image.new("RGB", (pictures.shape[2], CAPTION_HEIGHT))
  ImageDraw.Draw(line).text(
    (3, 2), text.encode("latin-1", "replace").decode("latin-1"), "white"
  )
  head = np.repeat(np.asarray(line)[None], len(pictures), axis=0)
  return np.concatenate([head, pictures], axis=1)


def summary(
  record: records.Record, height: int
) -> UInt8[np.ndarray, "height w 3"]:
  """Picture, depth and, at the last frame, all trails, side by side."""
  scale = height / record.shape[1]
  width = round(record.shape[2] * scale)
  first, last = record.video[0], record.video[-1]
  shown = [
    mediapy.to_uint8(mediapy.resize_image(picture, (height, width)))
    for picture in (first, _depth_pictures(record.depth)[0], last)
  ]
  pixels, visible = _drawn_points(record)
  shown[2] = _trails_until(shown[2], pixels * scale, visible[-1])
  return np.concatenate(shown, axis=1)
