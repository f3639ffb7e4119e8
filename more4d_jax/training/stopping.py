"""Requests to stop, by SIGINT or SIGTERM, and how processes agree on them."""

import collections
import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from more4d_jax import partitioning

_KINDS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 (not an error)
  """The run was asked to stop; what it had made is saved.

  Attributes:
    number: of the signal.
    together: whether all processes stop at the same place.
  """

  def __init__(self, text: str, number: int, *, together: bool = False):
    """Keeps what to tell."""
    super().__init__(text)
    self.number, self.together = number, together


@contextlib.contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
  """Gives signals to a handler; only the main thread may."""
  try:
    old = [signal.signal(kind, handler) for kind in _KINDS]
  except ValueError:
    yield
    return
  try:
    yield
  finally:
    for kind, before in zip(_KINDS, old):
      signal.signal(kind, before)


@contextlib.contextmanager
def at_once(before: Sequence[int] = ()) -> Iterator[None]:
  """A signal raises `Interrupted`, for work that loses nothing by it.

  Args:
    before: signals that came earlier, to which it applies too.
  """

  def interrupt(number: int, _: object = None) -> None:
    raise Interrupted(
      "stopped: what was finished is kept, the same command goes on", number
    )

  with _handled(interrupt):
    if before:
      interrupt(before[0])
    yield


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
  """A signal's number is added to a list, instead of ending between writes."""
  received: list[int] = []
  with _handled(lambda number, _: received.append(number)):
    yield received


class Agreement:
  """The largest number that any process has, the same for all at each step.

  It is asked for once a step. With several processes the answer is the one to
  the question before, so that no device waits for it.
  """

  def __init__(self, mesh: Mesh):
    """Keeps the mesh of the run."""
    self._place = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    self._size = mesh.size
    self._largest = jax.jit(
      lambda numbers: numbers.max(),
      out_shardings=partitioning.replicated(mesh),
    )
    self._pending: collections.deque[jax.Array] = collections.deque()

  def __call__(self, number: int) -> int:
    """Tells this process's number, and returns the largest of all."""
    if jax.process_count() == 1:
      return number
    numbers = jax.make_array_from_callback(
      (self._size,), self._place, lambda _: np.full(1, number, np.int32)
    )
    self._pending.append(self._largest(numbers))
    return int(self._pending.popleft()) if len(self._pending) > 1 else 0
