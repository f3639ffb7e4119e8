"""Counts and quantiles of a data set."""

import collections
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tqdm

from data_pipelines.trajscene import validate
from more4d_jax import errors
from more4d_jax.data import records, source

_MOVING = 0.01  # Of the first-frame depth, over the whole clip.
_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
_MEASURES = (
  "valid",
  "visible",
  "moving",
  "motion",
  "depth",
  "depth_ratio",
  "camera",
)


def stats(
  directory: str | os.PathLike[str],
  split: str | None = None,
  *,
  limit: int | None = None,
  progress: bool = False,
) -> dict[str, Any]:
  """Sizes, motion, depth and captions, ready for JSON.

  Args:
    directory: of the data set.
    split: its split.
    limit: look at no more than so many records, evenly spread.
    progress: whether to show a bar.

  Returns: `records`, `looked_at`, `bytes_per_record` and per field, `shapes`,
    `captions`, `words`, and quantiles (0, 10, 50, 90, 100 %) over records of
    the measures of `measures`.

  Raises:
    UserError: no records there, or a limit below 1.
  """
  opened = source.open_records(directory, split)
  if limit is not None and limit < 1:
    raise errors.UserError(f"limit is {limit}; expected at least 1")
  count = min(limit or len(opened), len(opened))
  sizes: collections.Counter[str] = collections.Counter()
  shapes: collections.Counter[str] = collections.Counter()
  words: collections.Counter[str] = collections.Counter()
  captions, rows = set(), []
  for place in tqdm.tqdm(range(count), unit="record", disable=not progress):
    item = opened[place * len(opened) // count]
    record = item.decode()
    sizes.update({name: len(blob) for name, blob in item.fields.items()})
    shapes.update(["x".join(map(str, record.shape))])
    captions.add(record.caption)
    words.update(record.caption.lower().split())
    rows.append(measures(record))
  return {
    "records": len(opened),
    "looked_at": count,
    "bytes_per_record": round(sum(sizes.values()) / count),
    "bytes_per_field": {n: round(s / count) for n, s in sizes.most_common()},
    "shapes": dict(shapes),
    "captions": len(captions),
    "words": dict(words.most_common(20)),
    "quantiles": {
      name: np.quantile([row[name] for row in rows], _QUANTILES).tolist()
      for name in rows[0]
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
    lines.append(f"{name:<12} " + " ".join(f"{v:9.4g}" for v in values))
  return "\n".join(lines)


def measures(record: records.Record) -> dict[str, float]:
  """Numbers that describe one scene.

  Returns: shares of `valid` pixels and, over these, of `visible` places in
    time and of `moving` points (more than 1 % of their depth); their mean
    `motion` in metres at the widest; `depth` and its spread
    `depth_ratio` (95 % to 5 % quantile); `camera` travel in metres.
  """
  valid = validate.valid_points(record)
  tracks = record.tracks[:, valid]
  if not tracks.size:
    return dict.fromkeys(_MEASURES, 0.0)
  depth = tracks[0, :, 2]
  farthest = np.linalg.norm(tracks - tracks[0], axis=-1).max(axis=0)
  moving = farthest > _MOVING * depth
  near, far = np.quantile(depth, [0.05, 0.95])
  path = np.diff(record.world_from_camera[:, :3, 3], axis=0)
  return {
    "valid": float(valid.mean()),
    "visible": float(record.visible[:, valid].mean()),
    "moving": float(moving.mean()),
    "motion": float(farthest[moving].mean()) if moving.any() else 0.0,
    "depth": float(np.median(depth)),
    "depth_ratio": float(far / near),
    "camera": float(np.linalg.norm(path, axis=-1).sum()),
  }
