"""A seeded, resumable loader over any source that is read by number.

The order of examples is a function of (seed, number of examples) alone. Batch
s holds the places s*G to (s+1)*G - 1 of that order (G: global batch), of which
a process reads the rows that its devices hold. The position is therefore one
number, valid for any number of processes, threads and workers.

With `parts` the order mixes several data sets in given shares: each part is
shuffled and repeated by itself, and which part the next example comes from
follows from the shares and the place in the order alone.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

import grain
import numpy as np
from absl import flags, logging

from more4d_jax import errors
from more4d_jax.data import damaged_records

POSITION = "global_next_index"


Source, Example, Transform = (
  damaged_records.Source,
  damaged_records.Example,
  damaged_records.Transform,
)


@dataclasses.dataclass(frozen=True)
class Part:
  """A data set within a source.

  Attributes:
    size: number of its records; the parts follow each other in the source.
    weight: its share of the examples, relative to the other parts.
  """

  size: int
  weight: float


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
  """Order, batches and parallelism of reading.

  Attributes:
    global_batch: examples in a batch, over all processes.
    seed: of order and of random transforms.
    shuffle: whether each epoch has its own random order.
    num_epochs: None repeats without end; records that do not fill a last
      batch are left out.
    rows: which rows of each batch this process reads, in this order; all when
      empty.
    workers: processes that read for this one; 0 reads in threads.
    threads: reading threads, in each worker if there are any.
    prefetch: batches read ahead.
    parts: data sets to mix; together they are the source. Empty: one data set.
      A source with several examples a record has them in a row.
    max_damaged: records of this process that may be unreadable before it gives
      up; another example stands in for each. They are counted from the start
      of the process.
  """

  global_batch: int
  seed: int = 0
  shuffle: bool = True
  num_epochs: int | None = None
  rows: tuple[int, ...] = ()
  workers: int = 0
  threads: int = 4
  prefetch: int = 4
  parts: tuple[Part, ...] = ()
  max_damaged: int = 0


class Loader:
  """Iterates over this process's part of each global batch.

  Attributes:
    damaged: how many unreadable records others have stood in for.
  """

  def __init__(
    self,
    elastic: grain.experimental.ElasticIterator,
    config: LoaderConfig,
  ):
    self.damaged = 0
    self._global, self._own = config.global_batch, _own(config)
    self._max_damaged = config.max_damaged
    self._elastic: grain.experimental.ElasticIterator | None = elastic
    self._iterator = iter(elastic)

  def __iter__(self) -> "Loader":
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    batch = dict(next(self._iterator))
    for note in filter(None, batch.pop(damaged_records.NOTE).tolist()):
      self._count(note.decode(errors="replace"))
    return batch

  def _count(self, note: str) -> None:
    self.damaged += 1
    if self.damaged <= self._max_damaged:
      logging.warning("%s; another record stands in for it", note)
      return
    raise errors.DamagedRecordError(
      note
      if not self._max_damaged
      else f"{self.damaged} records could not be read, more than the "
      f"{self._max_damaged} allowed by max_damaged; the last: {note}"
    )

  def get_state(self) -> dict[str, int]:
    """The position, ready for JSON; the same in every process."""
    own = int(self._iterator.get_state()[POSITION])
    return {POSITION: own // self._own * self._global}

  def set_state(self, state: Mapping[str, int]) -> None:
    """Continues where `get_state` was asked, here or elsewhere."""
    batches = int(state[POSITION]) // self._global
    self._iterator.set_state({POSITION: batches * self._own})

  def close(self) -> None:
    """Ends threads and workers; nothing can be read afterwards.

    Grain's iterators are released: those that Python finds when it exits print
    tracebacks from their destructors.
    """
    if self._elastic is not None:
      self._elastic.close()
    self._elastic, self._iterator = None, iter(())


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
  dataset = _order(len(source), config)
  dataset = dataset.random_map(damaged_records.Reader(source, transform))
  multiprocessing_options = None
  if config.workers:
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # grain reads flags when it starts workers.
    multiprocessing_options = grain.MultiprocessingOptions(
      num_workers=config.workers, per_worker_buffer_size=config.prefetch
    )
  return Loader(
    grain.experimental.ElasticIterator(
      _Rows(dataset, config) if config.rows else dataset,
      _own(config),
      grain.sharding.ShardOptions(shard_index=0, shard_count=1),
      read_options=grain.ReadOptions(
        num_threads=config.threads,
        prefetch_buffer_size=max(1, config.prefetch * _own(config)),
      ),
      multiprocessing_options=multiprocessing_options,
    ),
    config,
  )


def _own(config: LoaderConfig) -> int:
  """Number of examples of a batch that this process reads."""
  return len(config.rows) or config.global_batch


class _Rows(grain.MapDataset):
  """The rows of each batch that a process reads, of the order of examples."""

  def __init__(self, order: grain.MapDataset, config: LoaderConfig):
    super().__init__(order)
    self._rows, self._batch = config.rows, config.global_batch

  def __len__(self) -> int:
    return len(self._parent) // self._batch * len(self._rows)

  def __getitem__(self, index: int | slice) -> Any:
    if isinstance(index, slice):
      return self.slice(index)
    batch, number = divmod(index, len(self._rows))
    return self._parent[batch * self._batch + self._rows[number]]


def numbers(
  count: int, config: LoaderConfig, state: Mapping[str, int]
) -> list[int]:
  """Numbers of the examples of the global batch that ends at a position.

  Args:
    count: of examples in the source.
    config: of the loader.
    state: of `Loader.get_state`, right after the batch.
  """
  order, stop = _order(count, config), int(state[POSITION])
  return [int(order[i]) for i in range(stop - config.global_batch, stop)]


def batches_in_order(
  source: Source,
  transform: Transform,
  batch: int,
  *,
  threads: int = 2,
  numbers: range | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Every example once, in order; the last batch may be smaller.

  For evaluation and for filling caches. Random transforms get a generator
  seeded by the example's number.

  Args:
    source: of items.
    transform: item -> example.
    batch: examples in a batch.
    threads: that read.
    numbers: of the items, one after the other; all when left out.
  """
  if batch < 1:
    raise errors.UserError(f"batch is {batch}; expected at least 1")

  def example(index: int) -> Example:
    rng = np.random.default_rng(index)
    return damaged_records.apply(transform, source[index], rng)

  with futures.ThreadPoolExecutor(threads) as pool:
    wanted = range(len(source)) if numbers is None else numbers
    starts = range(wanted.start, wanted.stop, batch)
    ahead = None
    for start in [*starts, None]:
      coming = None
      if start is not None:
        stop = min(start + batch, wanted.stop)
        coming = [pool.submit(example, i) for i in range(start, stop)]
      if ahead is not None:
        yield stack([future.result() for future in ahead])
      ahead = coming


def stack(examples: list[Example]) -> dict[str, np.ndarray]:
  """Stacks examples to a batch, with a new axis in front of every field."""
  return {
    name: np.stack([np.asarray(example[name]) for example in examples])
    for name in examples[0]
  }


def _check(source: Source, config: LoaderConfig) -> None:
  if config.global_batch < 1:
    raise errors.UserError(
      f"global_batch is {config.global_batch}; expected at least 1"
    )
  if not all(0 <= row < config.global_batch for row in config.rows):
    raise errors.UserError(
      f"rows are {config.rows}; expected 0 to {config.global_batch - 1}"
    )
  if not len(source):
    raise errors.UserError("the source holds no examples")
  if config.max_damaged < 0:
    raise errors.UserError(
      f"max_damaged is {config.max_damaged}; expected at least 0"
    )
  if config.parts:
    _check_parts(len(source), config)
  elif config.num_epochs is not None:
    total = len(source) * config.num_epochs
    if total < config.global_batch:
      raise errors.UserError(
        f"{len(source)} examples in {config.num_epochs} epochs do not fill one "
        f"batch of {config.global_batch}; lower global_batch"
      )


def _check_parts(count: int, config: LoaderConfig) -> None:
  sizes = [part.size for part in config.parts]
  if min(sizes) < 1 or count % sum(sizes):
    raise errors.UserError(
      f"parts of {sizes} records do not make up a source of {count} examples"
    )
  weights = [part.weight for part in config.parts]
  if not all(0 < weight < np.inf for weight in weights):
    raise errors.UserError(
      f"weights of the data sets are {weights}; expected positive numbers"
    )
  if config.num_epochs is not None:
    raise errors.UserError(
      f"a mixture of data sets has no epochs, num_epochs is "
      f"{config.num_epochs}; leave it out"
    )


def _order(count: int, config: LoaderConfig) -> grain.MapDataset:
  """Numbers of items in the order of examples."""
  if not config.parts:
    return _shuffled(range(count), config, config.seed)
  per_record = count // sum(part.size for part in config.parts)
  sets, start = [], 0
  for number, part in enumerate(config.parts):
    stop = start + part.size * per_record
    seed = int(
      np.random.SeedSequence([config.seed, number]).generate_state(1)[0]
    )
    sets.append(_shuffled(range(start, stop), config, seed))
    start = stop
  weights = [part.weight for part in config.parts]
  mixed = grain.MapDataset.mix(sets, [w / sum(weights) for w in weights])
  return mixed.seed(config.seed)


def _shuffled(
  numbers: range, config: LoaderConfig, seed: int
) -> grain.MapDataset:
  dataset = grain.MapDataset.source(numbers).seed(seed)
  if config.shuffle:
    dataset = dataset.shuffle()
  return dataset.repeat(config.num_epochs)
