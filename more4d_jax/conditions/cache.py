"""What frozen networks make of records, computed once and kept.

A cache is a folder of parts, each written whole or not at all, so that an
interrupted run continues with the first missing part. Parts know nothing of
each other: any number of processes make a cache together, each its share.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from typing import Any

import jax
import numpy as np
import tqdm
from jaxtyping import Array

from more4d_jax import errors, locations
from more4d_jax.data import array_cache, loader, transforms

Batch = Mapping[str, Any]
Encode = Callable[[Batch], Mapping[str, Array]]
_OPENING_THREADS = 32  # A distant index costs a request.


@dataclasses.dataclass(frozen=True)
class CacheJob:
  """Where a cache lies and what it is made from.

  Attributes:
    root: folder of caches; each has a name that follows from `fingerprint`.
    kind: first part of the name, and shown while it is made.
    fingerprint: JSON values; other values, another cache.
    count: number of examples.
    batch: examples encoded together.
    part: examples in a part.
    threads: that read.
  """

  root: locations.Location
  kind: str
  fingerprint: Mapping[str, Any]
  count: int
  batch: int = 8
  part: int = 64
  threads: int = 4

  @property
  def directory(self) -> locations.Location:
    """The cache's own folder."""
    text = json.dumps(dict(self.fingerprint), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return self.root / f"{self.kind}-{digest}"

  @property
  def parts(self) -> list[array_cache.Place]:
    """Where the parts lie."""
    count = -(-self.count // self.part)
    return [array_cache.Place(self.directory, k) for k in range(count)]

  def numbers(self, part: int) -> range:
    """Numbers of the examples of a part."""
    start = part * self.part
    return range(start, min(start + self.part, self.count))


@dataclasses.dataclass(frozen=True)
class Made:
  """What a process has made of a cache.

  Attributes:
    job: what was to be made.
    examples: number of those made.
    bytes: of these.
    seconds: it took.
  """

  job: CacheJob
  examples: int
  bytes: int
  seconds: float


class Repeated:
  """Each item of a source several times in a row, to be changed at random."""

  def __init__(self, whole: loader.Source, times: int):
    """Keeps the source."""
    self._whole, self._times = whole, times

  def __len__(self) -> int:
    """Number of items."""
    return self._times * len(self._whole)

  def __getitem__(self, index: int) -> Any:
    """Returns an item."""
    return self._whole[index // self._times]


def build(
  job: CacheJob,
  source: loader.Source,
  transform: loader.Transform,
  encode: Encode,
  share: tuple[int, int] = (0, 1),
  check: bool = False,
) -> Made:
  """Makes a share of what is missing of a cache, part by part.

  Args:
    job: see CacheJob.
    source: as many records, or what becomes of them.
    transform: item -> arrays that `encode` takes, without batch axis; its
      random choices follow from the item's number.
    encode: batch -> arrays of the cache; compiled for one batch size.
    share: (k, n) makes every n-th part from number k on.
    check: whether to compare hashes of the parts that are there, and to make
      again what is damaged.

  Raises:
    UserError: names a record that gives numbers that are not finite.
  """
  first, every = share
  mine = range(first, len(job.parts), every)
  missing = [k for k in mine if not _is_whole(job, job.parts[k], check)]
  began, size = time.monotonic(), 0
  total = sum(len(job.numbers(k)) for k in mine)
  left = sum(len(job.numbers(k)) for k in missing)
  with tqdm.tqdm(
    total=total,
    initial=total - left,
    desc=f"{job.kind} cache",
    unit="record",
    disable=not missing,
    mininterval=1.0,
  ) as bar:
    for k in missing:
      examples = _encoded(job, source, transform, encode, job.numbers(k))
      size += array_cache.write_part(
        job.parts[k], _counted(examples, bar), job.fingerprint
      )
  return Made(job, left, size, time.monotonic() - began)


def open_parts(job: CacheJob) -> list[array_cache.Part]:
  """Opens the parts of a finished cache.

  Raises:
    UserError: if a part is missing, damaged or made from something else.
  """
  with futures.ThreadPoolExecutor(_OPENING_THREADS) as pool:
    return list(
      pool.map(
        lambda place: array_cache.open_part(place, job.fingerprint), job.parts
      )
    )


def _is_whole(job: CacheJob, place: array_cache.Place, check: bool) -> bool:
  """Whether a part is there, and as it was written if that is to be checked."""
  if not array_cache.is_finished(place):
    return False
  if check:
    try:
      array_cache.open_part(place, job.fingerprint).check()
    except errors.UserError as error:
      tqdm.tqdm.write(f"made again: {error}")
      return False
  return True


def _encoded(
  job: CacheJob,
  source: loader.Source,
  transform: loader.Transform,
  encode: Encode,
  numbers: range,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields what becomes of items of a source, one by one."""
  start = numbers.start
  for batch in loader.batches_in_order(
    source, transform, job.batch, threads=job.threads, numbers=numbers
  ):
    count = len(next(iter(batch.values())))
    # A last, smaller batch is filled up: one shape, one compilation.
    full = {
      name: np.concatenate([v, np.repeat(v[-1:], job.batch - count, axis=0)])
      for name, v in batch.items()
    }
    found = jax.device_get(encode(full))
    for i in range(count):
      example = {name: np.asarray(v[i]) for name, v in found.items()}
      _check_finite(example, source, start + i)
      yield example
    start += count


def _check_finite(
  example: Mapping[str, np.ndarray], source: loader.Source, number: int
) -> None:
  for name, value in example.items():
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
      raise errors.UserError(
        f"{transforms.name_of(source[number])} gives {name} that are not "
        "finite: look at it with `more4d data validate`, and mend it or leave "
        "it out"
      )


def _counted(
  examples: Iterator[dict[str, np.ndarray]], bar: tqdm.tqdm
) -> Iterator[dict[str, np.ndarray]]:
  for example in examples:
    yield example
    bar.update(1)
