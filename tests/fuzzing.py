"""Damaged files, and what a program may do with one.

A test gives the bytes of a good file, ways to damage them and a use of the
file, as a person would use it. For each damaged file the use must end with a
`UserError` of one line, or with a result that the test finds right, within a
time and twice the memory that the good file justifies.

  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()),
    path,
    lambda: fuzzing.command(["render", "--scene", str(path), ...]),
    count=40,
  )

Give `pytest.mark.parametrize("count", fuzzing.COUNTS)` to run it short in
`make test` and long in `make test-long`.
"""

import collections
import contextlib
import copy
import dataclasses
import gc
import io
import json
import pathlib
import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from more4d_jax import errors
from more4d_jax.cli import main

COUNTS = (
  pytest.param(40, marks=pytest.mark.slow),
  pytest.param(300, marks=pytest.mark.long),
)
# What a reader may use whatever the size of a file: its own objects.
_SLACK_BYTES = 4 << 20
_HEAD_BYTES = 512  # Headers are damaged as often as all that follows them.
_PARTS = 16  # Equal ones of a file, which are damaged equally often.


@dataclasses.dataclass(frozen=True)
class Damaged:
  """A file's content after one mishap.

  Attributes:
    what: happened, for the message of a failure.
    data: the content.
  """

  what: str
  data: bytes = dataclasses.field(repr=False)


class HangError(BaseException):
  """A use took too long; no handler of a program takes it for its own."""


def command(arguments: Sequence[str]) -> str:
  """Runs `more4d` in this process.

  Returns: what it printed.

  Raises:
    UserError: if it ended with exit status 2, with the line it wrote.
    AssertionError: for any other failure, or an error of several lines.
  """
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = main.main(list(arguments))
  if status == 0:
    return out.getvalue()
  lines = [line for line in err.getvalue().splitlines() if line.strip()]
  complaints = [line for line in lines if line.startswith("error: ")]
  assert status == 2, f"exit status {status}: {err.getvalue()}"
  assert len(complaints) == 1, err.getvalue()
  assert lines[-1] == complaints[0], err.getvalue()
  raise errors.UserError(complaints[0].removeprefix("error: "))


def fuzz(
  mishaps: strategies.SearchStrategy[Damaged],
  path: pathlib.Path,
  use: Callable[[], Any],
  right: Callable[[Any], None] | None = None,
  *,
  count: int,
  seconds: float = 60.0,
) -> collections.Counter[str]:
  """Uses a file that is there, then as many damaged ones in its place.

  Args:
    mishaps: what happens to the file.
    path: of the good file; a damaged one that fails the test stays there.
    use: reads the file; it may raise UserError.
    right: asserts that a result is one the damaged file justifies.
    count: of damaged files.
    seconds: that one use may take; busy machines need more than they should.

  Returns: how many uses ended as "refused" and as "read".
  """
  good = path.read_bytes()
  use()  # What is imported or compiled at the first use counts for none.
  with _measured(sys.maxsize, 10 * seconds) as peak:
    use()
  bound = 2 * max(len(good), peak()) + _SLACK_BYTES
  ends: collections.Counter[str] = collections.Counter()

  @hypothesis.settings(
    max_examples=count,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(hypothesis.Phase.generate,),
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(mishaps)
  def once(damaged: Damaged) -> None:
    path.write_bytes(damaged.data)
    ends[_use(use, right, bound, seconds)] += 1

  once()
  path.write_bytes(good)
  assert sum(ends.values()) >= count // 2, "the mishaps are too few"
  print(f"{path.name}: {dict(ends)}, no traceback, no hang")
  return ends


def _use(
  use: Callable[[], Any],
  right: Callable[[Any], None] | None,
  bound: int,
  seconds: float,
) -> str:
  """Uses the file; returns how it ended.

  Whoever needs too much memory gets a second try: another way through a
  reader imports and compiles at its first use, and that counts for none.
  """
  with _measured(sys.maxsize, seconds) as peak:
    end, result = _end(use)
  if peak() > bound:
    gc.collect()
    with _measured(bound, seconds):
      end, result = _end(use)
  if end == "read" and right is not None:
    right(result)
  return end


def _end(use: Callable[[], Any]) -> tuple[str, Any]:
  """How a use ended, and its result."""
  try:
    return "read", use()
  except errors.UserError as error:
    line = str(error)
    assert line, "a refusal without a word"
    assert "\n" not in line, f"a refusal of several lines: {line}"
    return "refused", None


@contextlib.contextmanager
def _measured(bound: int, seconds: float) -> Iterator[Callable[[], int]]:
  """Fails if the block takes longer, or more memory at once; gives the peak."""
  peaks: list[int] = []

  def stop(*_: Any) -> None:
    raise HangError(f"a use of the file took more than {seconds} s")

  before = signal.signal(signal.SIGALRM, stop)
  signal.setitimer(signal.ITIMER_REAL, seconds)
  tracemalloc.start()
  try:
    yield lambda: peaks[0]
    peaks.append(tracemalloc.get_traced_memory()[1])
  finally:
    tracemalloc.stop()
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)
  assert peaks[0] <= bound, f"{peaks[0]} bytes at once, {bound} are justified"


@strategies.composite
def damaged_bytes(draw: Callable, data: bytes) -> Damaged:
  """Any file after a bad disk, an interrupted download or a bad program."""
  size = len(data)
  # Small numbers are drawn more often than large ones: parts come first.
  begin = strategies.integers(0, _PARTS - 1).map(lambda i: i * size // _PARTS)
  within = strategies.integers(0, size // _PARTS)
  places = strategies.builds(
    lambda first, more: min(first + more, size - 1), begin, within
  ) | strategies.integers(0, min(size, _HEAD_BYTES) - 1)
  start = draw(places)
  stop = min(size, start + draw(strategies.integers(1, max(1, size // 4))))
  part = data[start:stop]
  kind = draw(strategies.sampled_from(_KINDS))
  if kind == "flipped bits":
    found = bytearray(data)
    for at in draw(strategies.lists(places, min_size=1, max_size=8)):
      found[at] ^= 1 << draw(strategies.integers(0, 7))
    return Damaged(kind, bytes(found))
  if kind == "cut":
    return Damaged(f"{kind} at {start}", data[:start])
  if kind == "longer":
    return Damaged(kind, data + draw(strategies.binary(min_size=1)))
  other = {
    "lost": b"",
    "zeros": bytes(len(part)),
    "ones": b"\xff" * len(part),
    "twice": part + part,
    "turned": part[::-1],
  }[kind]
  what = f"bytes {start} to {stop} {kind}"
  return Damaged(what, data[:start] + other + data[stop:])


_KINDS = (
  "flipped bits",
  "cut",
  "longer",
  "lost",
  "zeros",
  "ones",
  "twice",
  "turned",
)

_DEEP: Any = "end"
for _ in range(200):
  _DEEP = [_DEEP]
_STRANGE = (
  None,
  True,
  0,
  -1,
  1,
  2**31,
  2**63,
  10**30,
  0.5,
  1e308,
  float("nan"),
  float("inf"),
  "",
  "nan",
  "1",
  "ä b,c:d",
  [],
  [0],
  {},
  _DEEP,
)


@strategies.composite
def damaged_value(draw: Callable, value: Any) -> tuple[str, Any]:
  """A JSON value with one part changed, lost, renamed or doubled."""
  whole = [copy.deepcopy(value)]
  path = draw(strategies.sampled_from(list(_places(whole[0]))))
  *above, last = (0, *path)
  inside: Any = whole
  for key in above:
    inside = inside[key]
  kind = draw(strategies.sampled_from(("other", "scaled", "lost", "twice")))
  what = f"{'/'.join(map(str, path)) or 'the whole'} {kind}"
  old = inside[last]
  number = isinstance(old, int | float) and not isinstance(old, bool)
  if kind == "scaled" and number:
    inside[last] = old * draw(strategies.sampled_from((-1, 2, 1000, 1e-9)))
  elif kind == "lost" and path:
    del inside[last]
  elif kind == "twice" and path and isinstance(inside, list):
    inside.append(old)
  elif kind == "twice" and path:
    inside[f"{last}2"] = inside.pop(last)
  else:
    inside[last] = draw(strategies.sampled_from(_STRANGE))
  return what, whole[0]


def _places(value: Any) -> Iterator[tuple[Any, ...]]:
  """The path of every part of a JSON value."""
  yield ()
  if isinstance(value, dict):
    items: Any = value.items()
  else:
    items = enumerate(value) if isinstance(value, list) else ()
  for key, inner in items:
    for rest in _places(inner):
      yield (key, *rest)


def damaged_json(value: Any) -> strategies.SearchStrategy[Damaged]:
  """A JSON file of a program that means something else by it."""
  return damaged_value(value).map(
    lambda found: Damaged(found[0], json.dumps(found[1]).encode())
  )


@strategies.composite
def damaged_array(draw: Callable, array: np.ndarray) -> tuple[str, Any]:
  """An array of another type or shape, or with strange values in it."""
  kind = draw(strategies.sampled_from(("type", "shape", "values")))
  if kind == "type":
    name = draw(strategies.sampled_from(_TYPES))
    with np.errstate(all="ignore"):
      return f"as {name}", array.astype(name)
  if kind == "shape":
    shapes = {
      "an axis more": array[None],
      "one axis": array.reshape(-1),
      "turned": array.T,
      "empty": array[:0] if array.ndim else array.reshape(-1)[:0],
      "a number": array.reshape(-1)[:1].reshape(()),
      "rows twice": np.concatenate([array, array]) if array.ndim else array,
      "a row less": array[1:] if array.ndim else array,
    }
    name = draw(strategies.sampled_from(list(shapes)))
    return name, shapes[name]
  value = draw(strategies.sampled_from((np.nan, np.inf, -np.inf, 1e30, 0, -1)))
  kept = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
  found = np.array(array, kept)
  share = draw(strategies.sampled_from((1, 2, 7)))
  with np.errstate(over="ignore"):
    found.reshape(-1)[::share] = value
  return f"{value} in one of {share}", found


_TYPES = ("bool", "int8", "uint16", "int64", "float16", "float64", "complex64")
_TYPES = (*_TYPES, "S4", "U4")
