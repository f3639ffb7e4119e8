"""Records as one film, side by side, or as pages to turn in a browser."""

import colorsys
import os
import pathlib

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from data_pipelines.trajscene import projection
from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.data import record_directory, records
from more4d_jax.data.codec import array_codec

_PANEL_HEIGHT = 192  # Pixels, at least; small grids are magnified.
_TRAILS = 16  # Tracks drawn across the width of a panel.
_MOST_TRAILS = 400
_CAPTION_HEIGHT = 16
_HIDDEN = np.uint8([160, 0, 0])


def show(
  directory: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  split: str | None = None,
  first: int = 0,
  count: int = 4,
) -> list[pathlib.Path]:
  """Writes a film with one row per record, or a page for each record.

  Args:
    directory: of the data set.
    out: file to write: .mp4 for a film; .html for pages with the points in
      space, which get the record's number if there are several.
    split: its split.
    first: number of the first record.
    count: how many.

  Returns: the files.

  Raises:
    UserError: no records there, or an output that is neither.
  """
  out = pathlib.Path(out)
  kind = out.suffix.lower()
  if kind not in (".mp4", ".html"):
    raise errors.UserError(
      f"{out}: expected an output file ending in .mp4 or .html"
    )
  opened = record_directory.open_records(directory, split)
  if not 0 <= first < len(opened) or count < 1:
    raise errors.UserError(
      f"expected --first of 0 to {len(opened) - 1} and --count of at least 1, "
      f"found {first} and {count}; {directory} has {len(opened)} records"
    )
  numbers = range(first, min(first + count, len(opened)))
  if kind == ".html":
    return _write_pages(opened, numbers, out)
  out.parent.mkdir(parents=True, exist_ok=True)
  temporary = out.with_name(f".{out.name}.incomplete")
  temporary.write_bytes(_film(opened, numbers))
  os.replace(temporary, out)
  return [out]


def as_scene(record: records.Record) -> scene_lib.Scene:
  """The points of a dense record as a scene for the viewers.

  Raises:
    UserError: the record is sparse.
  """
  if record.sparse:
    raise errors.UserError(
      f"record {record.id} is sparse; pages show dense records, write an .mp4"
    )
  tracks = record.tracks
  if record.tracks_frame == "each_camera":
    pose = record.world_from_camera[:, None, None]
    tracks = (pose[..., :3, :3] @ tracks[..., None])[..., 0] + pose[..., :3, 3]
  return scene_lib.Scene(
    tracks.astype(np.float32),
    record.visible,
    record.video[0],
    record.intrinsics,
    record.fps,
    {"id": record.id, "prompt": record.caption, "source": record.source},
  )


def _write_pages(opened, numbers, out: pathlib.Path) -> list[pathlib.Path]:
  try:
    from more4d_jax.viewing import viewer
  except ImportError as error:
    raise errors.UserError(
      f"pages need viser, which is not installed ({error}); pip install "
      f"'more4d_jax[view]', or write an .mp4"
    ) from error
  out.parent.mkdir(parents=True, exist_ok=True)
  written = []
  for number in numbers:
    record = opened[number].decode()
    path = out
    if len(numbers) > 1:
      path = out.with_name(f"{out.stem}_{number:05d}{out.suffix}")
    viewer.write_html(path, as_scene(record), title=record.caption or record.id)
    written.append(path)
  return written


def _film(opened, numbers) -> bytes:
  rows, fps = [], None
  for number in numbers:
    record = opened[number].decode()
    fps = fps or record.fps
    rows.append(_captioned(record, number))
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
  return array_codec.encode_video(
    np.ascontiguousarray(film), fps, pixel_format="yuv420p"
  )


def _captioned(record: records.Record, number: int) -> np.ndarray:
  """A record's row below a line with its number, id and caption."""
  row = record_row(record)
  line = Image.new("RGB", (row.shape[2], _CAPTION_HEIGHT))
  text = f"{number}  {record.id}  {record.caption}"
  ImageDraw.Draw(line).text(
    (3, 2), text.encode("latin-1", "replace").decode("latin-1"), "white"
  )
  head = np.repeat(np.asarray(line)[None], len(row), axis=0)
  return np.concatenate([head, row], axis=1)


def record_row(
  record: records.Record,
) -> UInt8[np.ndarray, "T h w 3"]:
  """Picture, depth (near is bright), trails and visibility of each frame."""
  frames, height, _ = record.shape
  scale = max(1, -(-_PANEL_HEIGHT // height))
  still = np.zeros(frames, int) if record.light else np.arange(frames)
  depth = _grey_depth(record.depth)[still]
  picture = record.video[still]
  panels = [_magnify(panel, scale) for panel in (picture, depth)]
  panels.append(_trails(record, panels[0], scale))
  if not record.sparse:  # Visibility of points without a grid is no picture.
    shown = np.where(record.visible[..., None], record.video[:1], _HIDDEN)
    panels.append(_magnify(shown.astype(np.uint8), scale))
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
  """The way each point has come, over the darkened picture.

  The head of a trail is a dot, hollow where the point is hidden.
  """
  pixels, visible = _drawn_points(record)
  pixels = np.clip(pixels * scale, -1e4, 1e4)
  hues = np.linspace(0, 1, pixels.shape[1], endpoint=False)
  colours = [
    tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 1, 1)) for hue in hues
  ]
  drawn = []
  for t in range(len(pixels)):
    image = Image.fromarray(picture[t] // 2)
    brush = ImageDraw.Draw(image)
    for point, colour in enumerate(colours):
      trail = pixels[: t + 1, point]
      if not np.isfinite(trail).all():
        continue
      x, y = trail[-1]
      brush.line([tuple(p) for p in trail], fill=colour)
      fill = colour if visible[t, point] else None
      size = 1 if visible[t, point] else 2
      brush.ellipse(
        (x - size, y - size, x + size, y + size), fill=fill, outline=colour
      )
    drawn.append(np.asarray(image))
  return np.stack(drawn)
