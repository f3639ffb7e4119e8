"""A seeded, resumable loader over any source that is read by number.

The order of examples is a function of (seed, number of examples) alone. Batch
s holds the places s*G to (s+1)*G - 1 of that order (G: global batch); process p
of n takes every n-th of them from p on. The position is therefore one number,
valid for any number of processes, threads and workers.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from typing import Any, Protocol, runtime_checkable

import grain
import numpy as np
from absl import flags

from more4d_jax import errors
from more4d_jax.data import processes

POSITION = "global_next_index"


@runtime_checkable
class Source(Protocol):
  """Whatever has a length and gives an item for a number."""

  def __len__(self) -> int: ...
  def __getitem__(self, index: int) -> Any: ...


Example = Mapping[str, Any]
Transform = Callable[[Any], Example] | grain.transforms.RandomMap
"""A function of an item, or an object whose `random_map(item, rng)` also gets
a `np.random.Generator` that depends on (seed, place in the order) alone."""


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
  """How to read.

  Attributes:
    global_batch: examples in a batch, over all processes.
    seed: of order and of random transforms.
    shuffle: whether each epoch has its own random order.
    num_epochs: None repeats for ever; what does not fill a batch at the end
      is left out.
    process_index: which process this is.
    process_count: how many processes share the batches.
    workers: processes that read for this one; 0 reads in threads.
    threads: reading threads, in each worker if there are any.
    prefetch: batches read ahead.
  """

  global_batch: int
  seed: int = 0
  shuffle: bool = True
  num_epochs: int | None = None
  process_index: int = 0
  process_count: int = 1
  workers: int = 0
  threads: int = 4
  prefetch: int = 4


class Loader:
  """Iterates over this process's part of each global batch."""

  def __init__(self, elastic: grain.experimental.ElasticIterator):
    self._elastic = elastic
    self._iterator = iter(elastic)

  def __iter__(self) -> "Loader":
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    return next(self._iterator)

  def get_state(self) -> dict[str, int]:
    """The position, ready for JSON; the same in every process."""
    return {POSITION: int(self._iterator.get_state()[POSITION])}

  def set_state(self, state: Mapping[str, int]) -> None:
    """Continues where `get_state` was asked, here or elsewhere."""
    self._iterator.set_state({POSITION: int(state[POSITION])})

  def close(self) -> None:
    """Ends threads and workers."""
    self._elastic.close()


def make_loader(
  source: Source, transform: Transform, config: LoaderConfig
) -> Loader:
  """A loader that starts at the first batch.

  Args:
    source: records, an array cache, a list; shared by threads, and pickled
      for workers.
    transform: item -> dict of arrays of one shape each; pickled for workers.
    config: see `LoaderConfig`.

  Raises:
    UserError: the batch cannot be divided, or the source is empty or smaller
      than one batch and not repeated.
  """
  _check(source, config)
  dataset = grain.MapDataset.source(source).seed(config.seed)
  if config.shuffle:
    dataset = dataset.shuffle()
  dataset = dataset.repeat(config.num_epochs)
  if isinstance(transform, grain.transforms.RandomMap):
    dataset = dataset.random_map(_Watched(transform))
  else:
    dataset = dataset.map(_Watched(transform))
  multiprocessing_options = None
  if config.workers:
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # grain reads flags when it starts workers.
    multiprocessing_options = grain.MultiprocessingOptions(
      num_workers=config.workers, per_worker_buffer_size=config.prefetch
    )
  per_process = config.global_batch // config.process_count
  return Loader(
    grain.experimental.ElasticIterator(
      dataset,
      config.global_batch,
      grain.sharding.ShardOptions(
        shard_index=config.process_index, shard_count=config.process_count
      ),
      read_options=grain.ReadOptions(
        num_threads=config.threads,
        prefetch_buffer_size=max(1, config.prefetch * per_process),
      ),
      multiprocessing_options=multiprocessing_options,
    )
  )


def batches_in_order(
  source: Source, transform: Transform, batch: int, *, threads: int = 2
) -> Iterator[dict[str, np.ndarray]]:
  """Every example once, in order; the last batch may be smaller.

  For evaluation and for filling caches. Random transforms get a generator
  seeded by the example's number.
  """
  if batch < 1:
    raise errors.UserError(f"batch is {batch}; expected at least 1")

  def example(index: int) -> Example:
    item = source[index]
    if isinstance(transform, grain.transforms.RandomMap):
      return transform.random_map(item, np.random.default_rng(index))
    return transform(item)

  with futures.ThreadPoolExecutor(threads) as pool:
    starts = range(0, len(source), batch)
    ahead = None
    for start in [*starts, None]:
      coming = None
      if start is not None:
        stop = min(start + batch, len(source))
        coming = [pool.submit(example, i) for i in range(start, stop)]
      if ahead is not None:
        yield stack([future.result() for future in ahead])
      ahead = coming


def stack(examples: list[Example]) -> dict[str, np.ndarray]:
  """Examples to a batch, a new axis in front of every field."""
  return {
    name: np.stack([np.asarray(example[name]) for example in examples])
    for name in examples[0]
  }


def _check(source: Source, config: LoaderConfig) -> None:
  if config.global_batch < 1 or config.global_batch % config.process_count:
    raise errors.UserError(
      f"global_batch is {config.global_batch}; expected a positive multiple of "
      f"the {config.process_count} processes"
    )
  if not 0 <= config.process_index < config.process_count:
    raise errors.UserError(
      f"process_index is {config.process_index}; expected 0 to "
      f"{config.process_count - 1}"
    )
  if not len(source):
    raise errors.UserError("the source holds no examples")
  if config.num_epochs is not None:
    total = len(source) * config.num_epochs
    if total < config.global_batch:
      raise errors.UserError(
        f"{len(source)} examples in {config.num_epochs} epochs do not fill one "
        f"batch of {config.global_batch}; lower global_batch"
      )


class _Watched(grain.transforms.RandomMap):
  """The transform; a worker that runs it ends when its parent does."""

  def __init__(self, transform: Transform):
    self._transform = transform

  def __call__(self, item: Any) -> Example:
    processes.exit_with_parent()
    return self._transform(item)

  def random_map(self, item: Any, rng: np.random.Generator) -> Example:
    processes.exit_with_parent()
    return self._transform.random_map(item, rng)
