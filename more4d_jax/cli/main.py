"""The `more4d` command: finds the subcommand, reports mistakes in one line.

Every subcommand is a function with typed keyword arguments; it is imported
only when it is called, so that `more4d --help` needs none of its libraries.
"""

import contextlib
import dataclasses
import functools
import importlib
import io
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from more4d_jax import errors
from more4d_jax.cli import flag_errors

_ROOM = "more4d_jax.cli"


@dataclasses.dataclass(frozen=True)
class Command:
  """One subcommand.

  Attributes:
    module: file in cli/ that holds it.
    function: its name there, or of the dict of its own subcommands.
    help: one line for `more4d --help`.
  """

  module: str
  function: str
  help: str


COMMANDS: Mapping[str, Command] = {
  "generate": Command(
    "generate", "generate", "a picture and a sentence to a 4D scene and videos"
  ),
  "render": Command("render", "render", "a scene along a camera path to mp4"),
  "view": Command("view", "view", "look at a scene in the browser"),
  "export": Command("export", "export", "a scene to files of other programs"),
  "data": Command(
    "data",
    "commands",
    "records: make, import, curate, ask, validate, stats, show",
  ),
  "train-all": Command(
    "train_all", "train_all", "records, five trainings, a bundle and a scene"
  ),
  "bundle": Command(
    "bundle", "bundle", "trained networks to one checkpoint directory"
  ),
  "convert": Command(
    "convert", "convert", "published weights to a checkpoint, and back"
  ),
  "evaluate": Command("evaluate", "evaluate", "metrics against ground truth"),
  "doctor": Command(
    "doctor", "doctor", "what this machine has, and what is missing"
  ),
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs one subcommand.

  Args:
    arguments: what follows `more4d`; the process's own unless given.

  Returns: 0, or 2 after a mistake of the user, whose line is on stderr.
  """
  arguments = list(sys.argv[1:] if arguments is None else arguments)
  if not arguments or arguments[0] in ("-h", "--help"):
    print(_help("more4d", {n: c.help for n, c in COMMANDS.items()}))
    return 0
  if arguments[0] == "--version":
    import more4d_jax

    print(more4d_jax.__version__)
    return 0
  try:
    with _notes_on_stdout():
      _dispatch(arguments)
  except (errors.UserError, FloatingPointError, OSError) as error:
    return _fail(error)
  except ModuleNotFoundError as error:
    if (error.name or "").startswith(("more4d_jax", "data_pipelines")):
      raise
    return _fail(
      f"the library {error.name!r} is not installed: run `more4d doctor` to "
      "see which extra holds it"
    )
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return 130
  return 0


class _Notes(logging.Handler):
  """Prints what the library warns of, each line once."""

  def __init__(self):
    super().__init__(logging.WARNING)
    self._said: set[str] = set()

  def emit(self, record: logging.LogRecord) -> None:
    """Prints one line."""
    line = " ".join(record.getMessage().split())
    if line not in self._said:
      self._said.add(line)
      print(f"{record.levelname.lower()}: {line}", flush=True)


@contextlib.contextmanager
def _notes_on_stdout() -> Iterator[None]:
  """Prints the library's warnings to standard output: mistakes stand alone."""
  log, notes = logging.getLogger("more4d_jax"), _Notes()
  log.addHandler(notes)
  try:
    yield
  finally:
    log.removeHandler(notes)


def _dispatch(arguments: Sequence[str]) -> None:
  name, *rest = arguments
  command = _lookup("more4d", COMMANDS, name)
  module = importlib.import_module(f"{_ROOM}.{command.module}")
  found = getattr(module, command.function)
  if isinstance(found, Mapping):
    _group(f"more4d {name}", found, rest)
  else:
    _call(f"more4d {name}", found, rest)


def _group(
  program: str, commands: Mapping[str, Callable], arguments: Sequence[str]
) -> None:
  if not arguments or arguments[0] in ("-h", "--help"):
    lines = {
      name: (function.__doc__ or "").partition("\n")[0]
      for name, function in commands.items()
    }
    print(_help(program, lines))
    return
  function = _lookup(program, commands, arguments[0])
  _call(f"{program} {arguments[0]}", function, arguments[1:])


def _lookup(program: str, commands: Mapping[str, Any], name: str) -> Any:
  if name not in commands:
    raise errors.UserError(
      f"{program} has no subcommand {name!r}: choose one of "
      f"{', '.join(commands)}"
    )
  return commands[name]


def _call(program: str, function: Callable, arguments: Sequence[str]) -> None:
  """Parses first, then runs, so that a mistake in a flag is one line."""
  import tyro

  @functools.wraps(function)
  def parsed(*values: Any, **named: Any) -> Callable:
    return functools.partial(function, *values, **named)

  complaint = io.StringIO()
  try:
    with contextlib.redirect_stderr(complaint):
      run = tyro.cli(
        parsed,
        args=list(arguments),
        prog=program,
        config=(tyro.conf.OmitArgPrefixes,),
      )
  except SystemExit as stop:
    if not stop.code:
      return  # --help has been printed.
    words = re.sub(r"[^\x20-\x7e]+|-{2,}(?!\w)", " ", complaint.getvalue())
    raise errors.UserError(" ".join(words.split())) from stop
  run()


def _help(program: str, lines: Mapping[str, str]) -> str:
  width = max(map(len, lines))
  rows = [f"  {name:<{width}}  {line}" for name, line in lines.items()]
  head = f"usage: {program} COMMAND [--help] [options]\n\ncommands:"
  return "\n".join([head, *rows])


def _fail(message: Exception | str) -> int:
  if isinstance(message, OSError):
    message = flag_errors.describe_file(message)
  line = " ".join(str(message).split())
  print(f"error: {line}", file=sys.stderr)
  return 2


if __name__ == "__main__":
  sys.exit(main())
