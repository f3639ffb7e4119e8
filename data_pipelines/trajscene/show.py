"""Records as one film, a sheet of pictures, or pages to turn in a browser."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.data import record_directory, records

_SHEET_WIDTH = 1800  # Pixels, about.
_CELL_HEIGHT = 96
_GAP = 4


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
      f"{out}: expected an output file ending in .mp4 or .html (or --sheet N "
      f"and .png)"
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
  film, fps = _film(opened, numbers)
  mediapy = _mediapy()
  out.parent.mkdir(parents=True, exist_ok=True)
  temporary = out.with_name(f".{out.stem}.incomplete.mp4")
  try:
    mediapy.write_video(temporary, film, fps=fps, crf=14)
    os.replace(temporary, out)
  finally:
    temporary.unlink(missing_ok=True)
  return [out]


def sheet(
  directory: str | os.PathLike[str],
  out: str | os.PathLike[str],
  count: int,
  *,
  split: str | None = None,
) -> pathlib.Path:
  """Writes one picture of many records, evenly spread over the data set.

  Each has its first frame, first depth, the ways of its points, and its
  caption above them.

  Args:
    directory: of the data set.
    out: .png file to write.
    count: how many records; all if there are fewer.
    split: its split.

  Raises:
    UserError: no records there, or an output that is no .png.
  """
  out = pathlib.Path(out)
  if out.suffix.lower() != ".png" or count < 1:
    raise errors.UserError(
      f"expected --sheet of at least 1 and an output file ending in .png, "
      f"found {count} and {out}"
    )
  opened = record_directory.open_records(directory, split)
  mediapy = _mediapy()
  from data_pipelines.trajscene import drawing

  count = min(count, len(opened))
  numbers = [place * len(opened) // count for place in range(count)]
  cells = []
  for number in numbers:
    record = opened[number].decode()
    picture = drawing.summary(record, _CELL_HEIGHT)
    text = f"{number}  {record.caption}"
    cells.append(drawing.captioned(picture[None], text)[0])
  out.parent.mkdir(parents=True, exist_ok=True)
  temporary = out.with_name(f".{out.name}.incomplete")
  try:
    mediapy.write_image(temporary, _tiled(cells))
    os.replace(temporary, out)
  finally:
    temporary.unlink(missing_ok=True)
  return out


def _mediapy():
  """The library, told where the encoder of films is."""
  try:
    import imageio_ffmpeg
    import mediapy
  except ImportError as error:
    raise errors.UserError(
      f"{error.name} is not installed, it draws records: pip install "
      f"'more4d_jax[view]'"
    ) from error
  mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
  return mediapy


def _tiled(cells: Sequence[np.ndarray]) -> np.ndarray:
  """Pictures [h w 3] in rows, as wide as the widest of them each."""
  height = max(cell.shape[0] for cell in cells) + _GAP
  width = max(cell.shape[1] for cell in cells) + _GAP
  columns = min(len(cells), max(1, _SHEET_WIDTH // width))
  rows = -(-len(cells) // columns)
  made = np.full((rows * height, columns * width, 3), 32, np.uint8)
  for number, cell in enumerate(cells):
    top, left = number // columns * height, number % columns * width
    made[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
  return made


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
  from more4d_jax.viewing import page

  out.parent.mkdir(parents=True, exist_ok=True)
  written = []
  for number in numbers:
    record = opened[number].decode()
    path = out
    if len(numbers) > 1:
      path = out.with_name(f"{out.stem}_{number:05d}{out.suffix}")
    page.write(path, as_scene(record), title=record.caption or record.id)
    written.append(path)
  return written


def _film(opened, numbers) -> tuple[np.ndarray, float]:
  """Rows of records [T H W 3], one below the other, and frames a second."""
  _mediapy()
  from data_pipelines.trajscene import drawing

  rows, fps = [], None
  for number in numbers:
    record = opened[number].decode()
    fps = fps or record.fps
    text = f"{number}  {record.id}  {record.caption}"
    rows.append(drawing.captioned(drawing.record_row(record), text))
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
  return np.ascontiguousarray(film), fps
