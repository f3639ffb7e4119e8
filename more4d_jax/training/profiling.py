"""A profile of some steps of a run, for TensorBoard and Perfetto."""

import contextlib
from typing import Any

import jax

from more4d_jax import errors, locations


def parse(text: str) -> tuple[int, int] | None:
  """Reads "START:STOP", the first and the last step; None of nothing.

  Raises:
    ValueError: unless these are two step numbers in order.
  """
  if not text:
    return None
  first, _, last = text.partition(":")
  if not (first.isdecimal() and last.isdecimal()):
    raise ValueError(
      f"profile is {text!r}: expected START:STOP, two numbers of steps as in "
      "20:25"
    )
  if not 1 <= int(first) <= int(last):
    raise ValueError(
      f"profile is {text!r}: expected a first step of at least 1 and a last "
      "one that does not come before it"
    )
  return int(first), int(last)


class Profile:
  """Starts and stops jax's profiler where steps ask for it."""

  def __init__(self, steps: tuple[int, int] | None, folder: locations.Location):
    """Remembers which steps are profiled, and where the result goes."""
    self._steps, self._folder = steps, folder
    self._open = contextlib.ExitStack()
    self._on = False

  def before(self, step: int) -> None:
    """Call it before a step is dispatched."""
    if self._steps and step == self._steps[0]:
      made = self._open.enter_context(locations.written_here(self._folder))
      jax.profiler.start_trace(str(made))
      self._on = True

  def after(self, step: int, values: Any) -> None:
    """Call it with what a step returns; the last one is waited for."""
    if self._on and step == self._steps[1]:
      jax.block_until_ready(values)
      self.close()

  def close(self) -> None:
    """Ends a profile that is under way."""
    if self._on:
      jax.profiler.stop_trace()
      self._on = False
      self._open.close()


def check(steps: tuple[int, int] | None, first: int, last: int) -> None:
  """Makes sure that a run has the steps that are to be profiled.

  Args:
    steps: to be profiled.
    first: step of the run.
    last: step of the run.

  Raises:
    UserError: if it does not.
  """
  if steps and not first <= steps[0] <= steps[1] <= last:
    raise errors.UserError(
      f"profile is {steps[0]}:{steps[1]}, but this run does steps {first} to "
      f"{last}: choose among these"
    )
