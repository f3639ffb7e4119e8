"""Requests to stop, by SIGINT or SIGTERM, and how processes agree on them.

Between two steps they stop together, see `Agreement`. Elsewhere, where nothing
is lost by it, the one that is asked leaves at once and leaves word with the
coordinator; the others look there, whatever they are at, and follow.
"""

import collections
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

from more4d_jax import partitioning

_KINDS = (signal.SIGINT, signal.SIGTERM)
_WORD = "more4d/stop"
_LOOK_SECONDS = 1.0
# The coordinator, in process 0, is the last to leave.
FAREWELL_SECONDS = 3
_AT_ONCE = "stopped: what was finished is kept, the same command goes on"


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


def status_of(number: int) -> int:
  """Exit status after a signal; clusters ask with SIGTERM to make room."""
  return 0 if number == signal.SIGTERM else 130


def asked() -> int:
  """Number of the signal for which all processes leave at once; 0 for none."""
  if jax.process_count() == 1:
    return 0
  try:
    client = multihost.get_jax_distributed_client()
    return int(client.key_value_try_get(_WORD))
  except jax.errors.JaxRuntimeError:  # No word, or nobody to ask any more.
    return 0


def _leave_word(number: int) -> None:
  if jax.process_count() > 1:
    client = multihost.get_jax_distributed_client()
    client.key_value_set(_WORD, str(number), allow_overwrite=True)


@contextlib.contextmanager
def listening() -> Iterator[None]:
  """Ends this process when another one leaves at once."""
  ended = threading.Event()

  def look() -> None:
    while not ended.wait(_LOOK_SECONDS):
      heed()

  if jax.process_count() > 1:
    threading.Thread(target=look, daemon=True).start()
  try:
    yield
  finally:
    ended.set()


def heed() -> None:
  """Leaves as another process did that was asked to stop, if there is one."""
  if number := asked():
    print(_AT_ONCE, file=sys.stderr)
    end_now(status_of(number))


def end_now(status: int) -> NoReturn:
  """Ends this process of several, whatever its threads are at."""
  sys.stdout.flush()
  sys.stderr.flush()
  if jax.process_index() == 0:
    # The others may have the same to tell; without the coordinator, which is
    # here, jax would end them before they can.
    time.sleep(FAREWELL_SECONDS)
  os._exit(status)


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

  Other processes that are `listening` end too.

  Args:
    before: signals that came earlier, to which it applies too.
  """

  def interrupt(number: int, _: object = None) -> None:
    _leave_word(number)
    raise Interrupted(_AT_ONCE, number)

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
