"""Progress of a command: a bar, or a few lines in a log file."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import tqdm

_LINES = 10


@contextlib.contextmanager
def shown(
  total: int,
  done: int = 0,
  *,
  unit: str = "record",
  enabled: bool = True,
  file: TextIO | None = None,
) -> Iterator[Callable[[int], None]]:
  """Yields a function that is told how many more are done.

  On a terminal it moves a bar; elsewhere (a log file) it prints at most ten
  lines.

  Args:
    total: how many there are.
    done: how many were done before.
    unit: what is counted.
    enabled: whether to show anything.
    file: stderr unless given.
  """
  file = file or sys.stderr
  if not enabled or file.isatty():
    with tqdm.tqdm(
      total=total, initial=done, unit=unit, disable=not enabled, file=file
    ) as bar:
      yield bar.update
    return
  before, start = done, time.monotonic()

  def update(count: int) -> None:
    nonlocal done
    tenths = _LINES * done // max(total, 1)
    done += count
    if _LINES * done // max(total, 1) > tenths:
      rate = (done - before) / max(time.monotonic() - start, 1e-9)
      print(
        f"{done} of {total} {unit}s, {60 * rate:.0f} a minute, "
        f"{(total - done) / rate / 60:.1f} minutes left",
        file=file,
        flush=True,
      )

  yield update
