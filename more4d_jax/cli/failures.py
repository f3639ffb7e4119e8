"""What may go wrong with one scene or film while the others go on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from more4d_jax import errors

FAILURES = (
  errors.UserError,
  FloatingPointError,
  OSError,
  RuntimeError,
  MemoryError,
)
_LESS = (
  "use those of --guidance-halves sequence, --mesh auto, --dtype int8, "
  "--offload, fewer --frames and a smaller --scene-size that this command has, "
  "or close other programs"
)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def is_out_of_memory(error: Exception) -> bool:
  """Whether a device or this machine had no more memory."""
  on_device = isinstance(error, RuntimeError)
  return isinstance(error, MemoryError) or (
    on_device and str(error).startswith("RESOURCE_EXHAUSTED")
  )


def one_line(error: Exception) -> str:
  """An error's message without line breaks; what to do without memory."""
  if is_out_of_memory(error):
    # Behind the first line jax lists what lies in memory.
    wanted = (str(error).splitlines() or ["MemoryError"])[0].strip()
    place = "machine" if isinstance(error, MemoryError) else "device"
    return f"the {place} has too little memory ({wanted}): {_LESS}"
  return " ".join(str(error).split()) or type(error).__name__


def attempt(
  function: Callable[..., _Result], *args: Any
) -> _Result | Exception:
  """What a function gives, or why it gives nothing."""
  try:
    return function(*args)
  except FAILURES as error:
    return error


def each(
  run: Callable[[Sequence[_Item]], Iterable[_Result]], items: Sequence[_Item]
) -> Iterator[_Result | Exception]:
  """Results of all items together; if that fails, of each alone.

  Args:
    run: gives a result for each item in turn, and may raise one of `FAILURES`.
    items: what it is run with.

  Yields: a result for each item in turn, or the error of that item alone.
  """
  done = 0
  try:
    for result in run(items) if items else ():
      yield result
      done += 1
  except FAILURES as error:
    if len(items) == 1:
      yield error
      return
    left = len(items) - done
    print(f"{left} together failed ({one_line(error)}): each alone", flush=True)
    for item in items[done:]:
      yield from each(run, [item])
