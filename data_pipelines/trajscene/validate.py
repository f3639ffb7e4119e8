"""Checks of a data set: files against the manifest, records against physics."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tqdm

from data_pipelines.trajscene import shards as files
from more4d_jax import errors
from more4d_jax.data import records, source

_PIXELS = 1e-3  # Reprojection of frame 0; exact tracks are below 1e-4.
_RELATIVE_DEPTH = 1e-3  # Between the depth map and the tracks of frame 0.
_ROTATION = 1e-4  # Float32 rotations deviate by 1e-6 from orthonormal.


@dataclasses.dataclass(frozen=True)
class Report:
  """What was checked and what was wrong, one line each."""

  count: int
  problems: tuple[str, ...]


def validate(
  directory: str | os.PathLike[str],
  split: str | None = None,
  *,
  progress: bool = False,
) -> Report:
  """Reads all of a data set.

  Raises:
    UserError: there is no data set that could be checked.
  """
  opened = source.open_records(directory, split)
  problems = list(_files(opened.directory))
  seen: dict[str, int] = {}
  for index in tqdm.tqdm(
    range(len(opened)), unit="record", disable=not progress
  ):
    try:
      record = opened[index].decode()
      records.check(record)
    except ValueError as error:
      problems.append(str(error))
      continue
    name = f"record {index} ({record.id})"
    if record.id in seen:
      problems.append(f"{name}: same id as record {seen[record.id]}")
    seen.setdefault(record.id, index)
    problems += [f"{name}: {line}" for line in record_problems(record)]
  return Report(len(opened), tuple(problems))


def valid_points(record: records.Record) -> np.ndarray:
  """[H W] bool: the first frame has a finite positive depth there."""
  depth = record.tracks[0, :, :, 2]
  return np.isfinite(depth) & (depth > 0)


def record_problems(record: records.Record) -> Iterator[str]:
  """Sentences about what cannot be true of a scene; none if all is well."""
  fx, fy, cx, cy = record.intrinsics.tolist()
  if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
    yield f"intrinsics {record.intrinsics.tolist()}; focal lengths must be > 0"
    return
  valid = valid_points(record)
  if not valid.any():
    yield "no point has a positive depth in the first frame"
    return
  tracks = record.tracks[:, valid]
  if not np.isfinite(tracks).all():
    yield f"{int((~np.isfinite(tracks)).sum())} values of valid points are NaN"
  height, width = valid.shape
  rows, columns = np.mgrid[:height, :width] + 0.5
  first = record.tracks[0].astype(np.float64)
  with np.errstate(divide="ignore", invalid="ignore"):
    across = first[..., 0] / first[..., 2] * fx + cx - columns
    down = first[..., 1] / first[..., 2] * fy + cy - rows
  off = np.hypot(across, down)[valid].max()
  if not off <= _PIXELS:
    yield f"frame 0 reprojects {off:.3g} pixels off the grid"
  depth = record.depth[0][valid]
  far = np.abs(depth / first[..., 2][valid] - 1).max()
  if not far <= _RELATIVE_DEPTH:
    yield f"depth and tracks of frame 0 differ by {100 * far:.3g} %"
  yield from _pose_problems(record.world_from_camera)


def _pose_problems(poses: np.ndarray) -> Iterator[str]:
  rotations = poses[:, :3, :3].astype(np.float64)
  error = np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)).max()
  if not error <= _ROTATION or not (np.linalg.det(rotations) > 0).all():
    yield f"camera rotations are no rotations (off by {error:.3g})"
  if not np.allclose(poses[0], np.eye(4), atol=_ROTATION):
    yield "the first camera is not the identity"


def _files(directory: pathlib.Path) -> Iterator[str]:
  """Shards that differ from the manifest, where there is one."""
  path = directory / files.MANIFEST_FILE
  if not path.is_file():
    return
  try:
    shards = json.loads(path.read_text())["shards"]
    expected = {shard["file"]: shard["sha256"] for shard in shards}
  except (ValueError, KeyError, TypeError) as error:
    raise errors.UserError(
      f"{path} is damaged ({error}); make or copy the records again"
    ) from error
  for name, digest in expected.items():
    if files.file_digest(directory / name) != digest:
      yield f"{directory / name}: checksum differs from {path.name}"
