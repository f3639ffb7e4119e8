"""Worker processes that end with their parent and use one thread each."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import process as pools
from typing import Any

from more4d_jax import errors
from more4d_jax.data import processes

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def run(
  function: Callable[..., Any], tasks: Sequence[tuple], count: int | None
) -> Iterator[Iterator[Any]]:
  """Yields an iterator over `function(*task)`, in the order they finish.

  Args:
    function: one of a module, so that workers find it.
    tasks: arguments.
    count: processes; None takes one per core, 1 works in this one.

  Raises:
    UserError: a worker was killed.
  """
  count = min(count or os.cpu_count() or 1, max(1, len(tasks)))
  if count == 1:
    yield (function(*task) for task in tasks)
    return
  with (
    _single_threaded(),
    futures.ProcessPoolExecutor(
      count, multiprocessing.get_context("spawn"), initializer=_start
    ) as pool,
  ):
    submitted = [pool.submit(function, *task) for task in tasks]
    try:
      yield (future.result() for future in futures.as_completed(submitted))
    except pools.BrokenProcessPool as error:
      raise errors.UserError(
        "a worker process was killed, perhaps for memory; run the command "
        "again to continue, with fewer --processes"
      ) from error
    finally:
      pool.shutdown(wait=False, cancel_futures=True)


def _start() -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends the work.
  processes.exit_with_parent()


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
  """Workers inherit this: one thread each, or they slow each other down."""
  before = {name: os.environ.get(name) for name in _THREADS}
  os.environ.update(dict.fromkeys(_THREADS, "1"))
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value
