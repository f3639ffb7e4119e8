"""How far the stages of a command are, on standard error."""

import io
import sys
import time
from collections.abc import Callable

import tqdm

FIRST_STEP = "first step after"
_DRAWN = ("trajectories", "views")  # Stages whose parts are sampling steps.


class Progress:
  """Shows each stage with the time that it has left.

  On a terminal a bar moves; elsewhere, as in a log, a line is written from
  time to time, and one that says how long the first sampling step took to
  come. It is what `sampling.stages.Report` describes.
  """

  def __init__(
    self,
    stream: io.TextIOBase | None = None,
    every: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Shows nothing yet.

    Args:
      stream: written to; standard error when left out.
      every: seconds between lines where there is no terminal.
      clock: seconds that pass.
    """
    self._stream = stream or sys.stderr
    self._every, self._clock = every, clock
    self._what: str | None = None
    self._bar: tqdm.tqdm | None = None
    self._started = self._said = 0.0
    self._made, self._stepped = clock(), False

  def __call__(self, what: str, done: int, total: int) -> None:
    """Shows a stage: what it does, how much is done, and of how much."""
    if what != self._what or not done:
      self._begin(what, total)
    if self._bar is not None:
      self._bar.update(done - self._bar.n)
    elif done and what in _DRAWN and not self._stepped:
      self._stepped = True
      seconds = self._clock() - self._made
      print(f"{FIRST_STEP} {seconds:.1f} s", file=self._stream, flush=True)
    elif self._clock() - self._said >= self._every and done < total:
      self._say(done, total)
    if done >= total:
      self.close()

  def close(self) -> None:
    """Takes the bar away; the next report begins another."""
    if self._bar is not None:
      self._bar.close()
    self._what = self._bar = None

  def _begin(self, what: str, total: int) -> None:
    self.close()
    self._what = what
    self._started = self._said = self._clock()
    if self._stream.isatty():
      self._bar = tqdm.tqdm(
        total=total, desc=what, file=self._stream, leave=False
      )

  def _say(self, done: int, total: int) -> None:
    self._said = self._clock()
    line = f"{self._what}: {done} of {total}"
    if done:
      left = (self._said - self._started) * (total - done) / done
      line += f", {_minutes(left)} left"
    print(line, file=self._stream, flush=True)


def _minutes(seconds: float) -> str:
  """Time as people say it: 40 s, 3 min, 1 h 5 min."""
  if seconds < 60:
    return f"{round(seconds)} s"
  hours, minutes = divmod(round(seconds / 60), 60)
  return f"{hours} h {minutes} min" if hours else f"{minutes} min"
