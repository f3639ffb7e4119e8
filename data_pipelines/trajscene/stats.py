"""Counts and quantiles of a data set, as text, JSON and plots."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.trajscene import progress, projection, record_checks
from more4d_jax import errors
from more4d_jax.data import record_directory, records

_MOVING = 0.01  # Of the first-frame depth, over the whole clip.
_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
MEASURES = {
  "valid": "share of points with a first depth",
  "visible": "share of places that are seen",
  "moving": "share of points that move over 1 % of their depth",
  "motion": "mean way of moving points, m",
  "pixels": "mean way of moving points in the picture, shares of its width",
  "depth": "median depth, m",
  "depth_ratio": "depth, 95 % to 5 % quantile",
  "camera": "way of the camera, m",
  "words": "words of a caption",
  "bytes": "bytes of a record",
}
"""Number of a record -> what it says."""


@dataclasses.dataclass
class _Counts:
  """Sums over records."""

  sizes: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  shapes: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  words: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  captions: set = dataclasses.field(default_factory=set)
  without_caption: int = 0
  light: int = 0
  sparse: int = 0
  views: int = 0
  rows: list = dataclasses.field(default_factory=list)

  def add(self, item: records.EncodedRecord) -> None:
    """Adds a record."""
    record = item.decode()
    self.sizes.update({name: len(blob) for name, blob in item.fields.items()})
    self.shapes.update(["x".join(map(str, record.shape))])
    words = record.caption.lower().split()
    self.words.update(words)
    self.captions.add(record.caption)
    self.without_caption += not words
    self.light += record.light
    self.sparse += record.sparse
    self.views += len(record.views)
    size = sum(map(len, item.fields.values()))
    self.rows.append(measures(record) | {"words": len(words), "bytes": size})


def stats(
  directory: str | os.PathLike[str],
  split: str | None = None,
  *,
  limit: int | None = None,
  plots: str | os.PathLike[str] | None = None,
  show_progress: bool = False,
) -> dict[str, Any]:
  """Sizes, motion, depth and captions, ready for JSON.

  Args:
    directory: of the data set.
    split: its split.
    limit: greatest number of records that are read, evenly spread.
    plots: a PNG file to draw histograms into.
    show_progress: whether to show how far it is.

  Returns: `records`, `looked_at`, `bytes_per_record` and per field, `shapes`,
    `captions` (how many differ), `words` (the 20 most frequent), how many are
    `light`, `sparse`, `without_caption`, how many `views` there are, and
    quantiles (0, 10, 50, 90, 100 %) over records of `MEASURES`.

  Raises:
    UserError: no records there, a limit below 1, or plots that are no PNG.
  """
  if plots is not None:
    _check_plots(pathlib.Path(plots))
  opened = record_directory.open_records(directory, split)
  if limit is not None and limit < 1:
    raise errors.UserError(f"limit is {limit}; expected at least 1")
  count = min(limit or len(opened), len(opened))
  counts = _Counts()
  with progress.shown(count, enabled=show_progress) as advance:
    for place in range(count):
      counts.add(opened[place * len(opened) // count])
      advance(1)
  if plots is not None:
    _plot(counts, pathlib.Path(plots))
  return {
    "records": len(opened),
    "looked_at": count,
    "bytes_per_record": round(sum(counts.sizes.values()) / count),
    "bytes_per_field": {
      name: round(size / count) for name, size in counts.sizes.most_common()
    },
    "shapes": dict(counts.shapes),
    "captions": len(counts.captions),
    "without_caption": counts.without_caption,
    "light": counts.light,
    "sparse": counts.sparse,
    "views": counts.views,
    "words": dict(counts.words.most_common(20)),
    "quantiles": {
      name: np.quantile([row[name] for row in counts.rows], _QUANTILES).tolist()
      for name in MEASURES
    },
  }


def as_text(found: Mapping[str, Any]) -> str:
  """What `stats` returned, as lines for people."""
  lines = []
  for name, value in found.items():
    if name == "quantiles":
      continue
    if isinstance(value, dict):
      pairs = ", ".join(f"{key} {count}" for key, count in value.items())
      lines.append(f"{name}: {pairs}")
    else:
      lines.append(f"{name}: {value}")
  heads = " ".join(f"{f'{100 * q:.0f} %':>9}" for q in _QUANTILES)
  lines.append(f"{'quantiles':<12} {heads}")
  for name, values in found["quantiles"].items():
    numbers = " ".join(f"{v:9.4g}" for v in values)
    lines.append(f"{name:<12} {numbers}  {MEASURES[name]}")
  return "\n".join(lines)


def measures(record: records.Record) -> dict[str, float]:
  """Numbers that describe one scene.

  Returns: the first eight of `MEASURES`; shares are over valid points, zeros
    where there are none. Of sparse records, over points known in all frames.
  """
  if record.sparse:
    tracks, visible = record.points.tracks, record.points.visible
    valid = np.isfinite(tracks).all(axis=(0, 2)) & (tracks[0, :, 2] > 0)
  else:
    tracks, visible = record.tracks, record.visible
    valid = record_checks.valid_points(record)
  tracks, visible = tracks[:, valid], visible[:, valid]
  path = np.diff(record.world_from_camera[:, :3, 3], axis=0)
  found = dict.fromkeys(MEASURES, 0.0)
  found["camera"] = float(np.linalg.norm(path, axis=-1).sum())
  if not tracks.size:
    return found
  depth = tracks[0, :, 2]
  farthest = np.linalg.norm(tracks - tracks[0], axis=-1).max(axis=0)
  moving = farthest > _MOVING * depth
  near, far = np.quantile(depth, [0.05, 0.95])
  return found | {
    "valid": float(valid.mean()),
    "visible": float(visible.mean()),
    "moving": float(moving.mean()),
    "motion": float(farthest[moving].mean()) if moving.any() else 0.0,
    "pixels": _picture_motion(record, tracks[:, moving]),
    "depth": float(np.median(depth)),
    "depth_ratio": float(far / near),
  }


def _picture_motion(record: records.Record, tracks: np.ndarray) -> float:
  """Mean of the farthest distance that points move, in picture widths."""
  own = projection.in_cameras(record, tracks)
  pixels = projection.pixels(record, own)
  pixels = pixels[:, np.isfinite(pixels).all(axis=(0, 2))]
  if not pixels.size:
    return 0.0
  way = np.linalg.norm(pixels - pixels[0], axis=-1).max(axis=0)
  return float(way.mean() / record.shape[2])


def _check_plots(path: pathlib.Path) -> None:
  if path.suffix.lower() != ".png":
    raise errors.UserError(f"{path}: expected plots in a file ending in .png")
  if not path.absolute().parent.is_dir():
    raise errors.UserError(
      f"{path.absolute().parent}: no such folder for plots; create it first"
    )
  try:
    import matplotlib  # noqa: F401
  except ImportError as error:
    raise errors.UserError(
      "plots need matplotlib, which is not installed; pip install "
      "'more4d_jax[view]', or leave --plots out"
    ) from error


def _plot(counts: _Counts, path: pathlib.Path) -> None:
  """Draws a histogram of every measure, sizes by field and frequent words."""
  from matplotlib import figure
  from matplotlib.backends import backend_agg

  page = figure.Figure(figsize=(16, 10), layout="constrained")
  axes = page.subplots(3, 4).flat
  for name, meaning in MEASURES.items():
    axis = next(axes)
    values = np.array([row[name] for row in counts.rows], np.float64)
    axis.hist(values, bins=30, color="tab:blue")
    axis.axvline(np.median(values), color="tab:red", label="median")
    axis.set_title(meaning, fontsize=9)
    axis.set_ylabel("records")
  count = len(counts.rows)
  sizes = [(n, s / count / 1e3) for n, s in counts.sizes.most_common(10) if s]
  _bars(next(axes), sizes, "kilobytes of a record by field")
  _bars(next(axes), counts.words.most_common(18), "words of captions")
  backend_agg.FigureCanvasAgg(page)
  temporary = path.with_name(f".{path.name}.incomplete")
  page.savefig(temporary, dpi=80, format="png")
  os.replace(temporary, path)


def _bars(axis: Any, pairs: Sequence[tuple[str, float]], title: str) -> None:
  names = [name for name, _ in pairs]
  axis.barh(range(len(names)), [value for _, value in pairs], color="tab:green")
  axis.set_yticks(range(len(names)), names, fontsize=7)
  axis.invert_yaxis()
  axis.set_title(title, fontsize=9)
