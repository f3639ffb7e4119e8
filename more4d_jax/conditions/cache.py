"""What frozen networks make of records, computed once and kept.

A cache is a folder of parts, each written whole or not at all, so that an
interrupted run continues with the first missing part.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils
from jaxtyping import Array

from more4d_jax.data import array_cache, loader

Batch = Mapping[str, Any]
Encode = Callable[[Batch], Mapping[str, Array]]


@dataclasses.dataclass(frozen=True)
class CacheJob:
  """Where a cache lies and what it is made from.

  Attributes:
    root: folder of caches; each has a name that follows from `fingerprint`.
    kind: first part of the name, and shown while it is made.
    fingerprint: JSON values; other values, another cache.
    batch: examples encoded together.
    part: examples in a part.
  """

  root: pathlib.Path
  kind: str
  fingerprint: Mapping[str, Any]
  batch: int = 8
  part: int = 256

  @property
  def directory(self) -> pathlib.Path:
    """The cache's own folder."""
    text = json.dumps(dict(self.fingerprint), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return self.root / f"{self.kind}-{digest}"


def build(
  job: CacheJob,
  source: loader.Source,
  transform: loader.Transform,
  encode: Encode,
) -> list[array_cache.ArrayCache]:
  """Makes what is missing of a cache and opens it, part by part.

  Args:
    job: see CacheJob.
    source: records.
    transform: record -> arrays that `encode` takes, without batch axis.
    encode: batch -> arrays of the cache; compiled for one batch size.
  """
  starts = range(0, len(source), job.part)
  folders = [job.directory / f"part-{k:05d}" for k in range(len(starts))]
  if jax.process_index() == 0:
    missing = [
      k for k, f in enumerate(folders) if not array_cache.is_finished(f)
    ]
    done = len(source) - sum(
      min(job.part, len(source) - starts[k]) for k in missing
    )
    with tqdm.tqdm(
      total=len(source),
      initial=done,
      desc=f"{job.kind} cache",
      unit="record",
      disable=not missing,
      mininterval=1.0,
    ) as bar:
      for k in missing:
        stop = min(starts[k] + job.part, len(source))
        part = [starts[k], stop]
        _write_part(
          job, folders[k], _encoded(job, source, transform, encode, part), bar
        )
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(f"cache {job.directory.name}")
  return [array_cache.open_cache(f, job.fingerprint) for f in folders]


class _Range:
  """A contiguous piece of a source."""

  def __init__(self, whole: loader.Source, start: int, stop: int):
    self._whole, self._start, self._stop = whole, start, stop

  def __len__(self) -> int:
    return self._stop - self._start

  def __getitem__(self, index: int) -> Any:
    return self._whole[self._start + index]


def _encoded(
  job: CacheJob,
  source: loader.Source,
  transform: loader.Transform,
  encode: Encode,
  part: list[int],
) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
  """Yields (place in the part, size of the part, encoded examples)."""
  piece = _Range(source, *part)
  start = 0
  for batch in loader.batches_in_order(piece, transform, job.batch):
    count = len(next(iter(batch.values())))
    # A last, smaller batch is filled up: one shape, one compilation.
    full = {
      name: np.concatenate([v, np.repeat(v[-1:], job.batch - count, axis=0)])
      for name, v in batch.items()
    }
    found = jax.device_get(encode(full))
    yield (
      start,
      len(piece),
      {n: np.asarray(v)[:count] for n, v in found.items()},
    )
    start += count


def _write_part(
  job: CacheJob,
  folder: pathlib.Path,
  encoded: Iterator[tuple[int, int, dict[str, np.ndarray]]],
  bar: tqdm.tqdm,
) -> None:
  start, count, first = next(encoded)
  spec = array_cache.spec_of(count, {name: v[0] for name, v in first.items()})
  folder.parent.mkdir(parents=True, exist_ok=True)
  with array_cache.ArrayCacheWriter(folder, spec, job.fingerprint) as writer:
    writer.write(start, first)
    bar.update(len(next(iter(first.values()))))
    for start, _, found in encoded:
      writer.write(start, found)
      bar.update(len(next(iter(found.values()))))
