"""Records as one film: picture, depth, tracks and visibility side by side."""

import colorsys
import os
import pathlib

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from more4d_jax import errors
from more4d_jax.data import codec, records, source

_PANEL_HEIGHT = 192  # Pixels, at least; small grids are magnified.
_TRAILS = 16  # Tracks drawn across the width of a panel.


def show(
  directory: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  split: str | None = None,
  first: int = 0,
  count: int = 4,
) -> pathlib.Path:
  """Writes an mp4 with one row per record.

  Args:
    directory: of the data set.
    out: file to write.
    split: its split.
    first: number of the first record.
    count: how many rows.

  Raises:
    UserError: no records there, or an output that is no mp4 file.
  """
  out = pathlib.Path(out)
  if out.suffix.lower() != ".mp4":
    raise errors.UserError(f"{out}: expected an output file ending in .mp4")
  opened = source.open_records(directory, split)
  if not 0 <= first < len(opened) or count < 1:
    raise errors.UserError(
      f"expected --first of 0 to {len(opened) - 1} and --count of at least 1, "
      f"found {first} and {count}; {directory} has {len(opened)} records"
    )
  chosen = [opened[i] for i in range(first, min(first + count, len(opened)))]
  rows = [record_row(item.decode()) for item in chosen]
  frames = max(len(row) for row in rows)
  width = max(row.shape[2] for row in rows)
  padded = [
    np.pad(
      row[np.minimum(np.arange(frames), len(row) - 1)],
      ((0, 0), (0, 0), (0, width - row.shape[2]), (0, 0)),
    )
    for row in rows
  ]
  film = np.concatenate(padded, axis=1)
  film = film[:, : film.shape[1] // 2 * 2, : film.shape[2] // 2 * 2]
  out.parent.mkdir(parents=True, exist_ok=True)
  fps = chosen[0].decode(("fps",))["fps"]
  out.write_bytes(
    codec.encode_video(np.ascontiguousarray(film), fps, pixel_format="yuv420p")
  )
  return out


def record_row(
  record: records.Record,
) -> UInt8[np.ndarray, "T h w 3"]:
  """Picture, depth (near is bright), trails and visibility of each frame."""
  frames, height, _ = record.shape
  scale = max(1, -(-_PANEL_HEIGHT // height))
  still = np.zeros(frames, int) if record.light else np.arange(frames)
  depth = _grey_depth(record.depth)[still]
  picture = record.video[still]
  visible = np.where(
    record.visible[..., None], record.video[:1], np.uint8([160, 0, 0])
  ).astype(np.uint8)
  panels = [_magnify(panel, scale) for panel in (picture, depth, visible)]
  panels.insert(2, _trails(record, panels[0], scale))
  return np.concatenate(panels, axis=2)


def _grey_depth(
  depth: Float[np.ndarray, "V H W"],
) -> UInt8[np.ndarray, "V H W 3"]:
  valid = np.isfinite(depth) & (depth > 0)
  inverse = 1 / np.where(valid, depth, np.inf)
  low, high = (
    np.quantile(inverse[valid], [0.01, 0.99]) if valid.any() else (0, 1)
  )
  grey = np.clip((inverse - low) / max(high - low, 1e-9), 0, 1)
  return np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=-1)


def _magnify(
  video: UInt8[np.ndarray, "T H W 3"], scale: int
) -> UInt8[np.ndarray, "T h w 3"]:
  return video.repeat(scale, axis=1).repeat(scale, axis=2)


def _trails(
  record: records.Record, picture: UInt8[np.ndarray, "T h w 3"], scale: int
) -> UInt8[np.ndarray, "T h w 3"]:
  """The way each point has come, over the darkened picture."""
  frames, _, width = record.shape
  step = max(1, width // _TRAILS)
  start = step // 2
  pixels = _project(record)[:, start::step, start::step] * scale
  pixels = pixels.reshape(frames, -1, 2)
  hues = np.linspace(0, 1, pixels.shape[1], endpoint=False)
  colours = [
    tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 1, 1)) for hue in hues
  ]
  drawn = []
  for t in range(frames):
    image = Image.fromarray(picture[t] // 2)
    brush = ImageDraw.Draw(image)
    for point, colour in enumerate(colours):
      trail = pixels[: t + 1, point]
      if not np.isfinite(trail).all():
        continue
      x, y = np.clip(trail[-1], -1e4, 1e4)
      brush.line([tuple(p) for p in np.clip(trail, -1e4, 1e4)], fill=colour)
      brush.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
    drawn.append(np.asarray(image))
  return np.stack(drawn)


def _project(record: records.Record) -> Float[np.ndarray, "T H W 2"]:
  """Image positions in each frame's camera; NaN behind it."""
  points = record.tracks.astype(np.float64)
  if record.tracks_frame == "first_camera":
    camera_from_world = np.linalg.inv(
      record.world_from_camera.astype(np.float64)
    )
    rotations = camera_from_world[:, None, None, :3, :3]
    points = (rotations @ points[..., None])[..., 0]
    points = points + camera_from_world[:, None, None, :3, 3]
  fx, fy, cx, cy = record.intrinsics.astype(np.float64)
  z = np.where(points[..., 2] > 1e-6, points[..., 2], np.nan)
  return np.stack(
    [points[..., 0] / z * fx + cx, points[..., 1] / z * fy + cy], axis=-1
  )
