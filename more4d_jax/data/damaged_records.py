"""Reads an example by its number, or, if the record is damaged, another one.

A damaged record is not skipped in silence: the example that stands in for it
carries a note, by which `loader.Loader` counts it, whatever thread or process
has read it. Which one stands in depends on the damaged one's number alone, so
the order of examples stays what it was.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import grain
import numpy as np

from more4d_jax import errors
from more4d_jax.data import processes

NOTE = "damaged_record"
"""Name of the note in an example: the error's message, or empty bytes."""

_NOTE_SIZE = 400  # Bytes, the same in every example so that batches stack.
_ATTEMPTS = 32
_STRIDE = 7919  # To leave a damaged shard quickly; prime.


@runtime_checkable
class Source(Protocol):
  """Whatever has a length and gives an item for a number."""

  def __len__(self) -> int: ...
  def __getitem__(self, index: int) -> Any: ...


Example = Mapping[str, Any]
Transform = Callable[[Any], Example] | grain.transforms.RandomMap
"""A function of an item, or an object whose `random_map(item, rng)` also gets
a `np.random.Generator` that depends on (seed, place in the order) alone."""


class Reader(grain.transforms.RandomMap):
  """Number of an item -> example with a note.

  In a worker process it also watches over the process it works for.
  """

  def __init__(self, source: Source, transform: Transform):
    """Keeps both; they are pickled for workers."""
    self._source, self._transform = source, transform

  def random_map(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
    """The example of `index` under this generator's choices, or a stand-in.

    Raises:
      DamagedRecordError: neither it nor those tried instead can be read.
    """
    processes.exit_with_parent()
    note, state = "", rng.bit_generator.state
    for attempt in range(min(_ATTEMPTS, len(self._source))):
      number = (index + attempt * _STRIDE) % len(self._source)
      try:
        item = self._source[number]
        rng.bit_generator.state = state  # The same choices at each attempt.
        example = apply(self._transform, item, rng)
      except errors.DamagedRecordError as error:
        note = note or str(error)
        continue
      encoded = np.array(note.encode()[:_NOTE_SIZE], f"S{_NOTE_SIZE}")
      return {**example, NOTE: encoded}
    raise errors.DamagedRecordError(
      f"{note}; {attempt + 1} records tried in its place are damaged too"
    )


def apply(transform: Transform, item: Any, rng: np.random.Generator) -> Example:
  """The example of an item."""
  if isinstance(transform, grain.transforms.RandomMap):
    return transform.random_map(item, rng)
  return transform(item)
