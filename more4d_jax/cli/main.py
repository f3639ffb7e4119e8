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

from more4d_jax import errors, locations
from more4d_jax.cli import compilation_cache, failures, flag_errors

_ROOM = "more4d_jax.cli"


@dataclasses.dataclass(frozen=True)
class Command:
  """One subcommand.

  Attributes:
    module: file in cli/ that holds it.
    function: its name there, or the name of a table of further subcommands.
    group: heading that it stands under in `more4d --help`.
    help: one line for `more4d --help`.
    compiles: it runs programs that take long to compile, which are kept.
  """

  module: str
  function: str
  group: str
  help: str
  compiles: bool = False


_SCENES = "pictures and scenes"
_TRAINING = "records and training"
_CHECKPOINTS = "checkpoints"
_MACHINE = "this machine"

COMMANDS: Mapping[str, Command] = {
  "generate": Command(
    "generate",
    "generate",
    _SCENES,
    "a picture and a sentence to a 4D scene and videos",
    compiles=True,
  ),
  "render": Command(
    "render",
    "render",
    _SCENES,
    "a scene along a camera path to mp4",
    compiles=True,
  ),
  "complete": Command(
    "complete",
    "complete",
    _SCENES,
    "a scene along camera paths, holes filled by 4D-ViSM",
    compiles=True,
  ),
  "camera": Command(
    "camera", "camera", _SCENES, "a camera path to a file of any program"
  ),
  "view": Command("view", "view", _SCENES, "a scene in the browser"),
  "serve": Command(
    "serve", "serve", _SCENES, "a page in the browser that does all of this"
  ),
  "export": Command(
    "export", "export", _SCENES, "a scene to files of other programs"
  ),
  "data": Command(
    "data",
    "commands",
    _TRAINING,
    "records: make, import, curate, ask, validate, stats, show",
  ),
  "train-all": Command(
    "train_all",
    "train_all",
    _TRAINING,
    "records, five trainings, a bundle and a scene",
  ),
  "ablate": Command(
    "ablate",
    "ablate",
    _TRAINING,
    "the variants of the paper's ablations and ours, trained and compared",
    compiles=True,
  ),
  "plan": Command(
    "plan",
    "plan",
    _TRAINING,
    "memory and time on devices that need not be there",
  ),
  "bundle": Command(
    "bundle",
    "bundle",
    _CHECKPOINTS,
    "trained networks to one checkpoint directory",
  ),
  "convert": Command(
    "convert",
    "convert",
    _CHECKPOINTS,
    "published weights to a checkpoint, and back",
  ),
  "evaluate": Command(
    "evaluate",
    "evaluate",
    _CHECKPOINTS,
    "metrics against ground truth",
    compiles=True,
  ),
  "score": Command(
    "score",
    "commands",
    _CHECKPOINTS,
    "results to judges: tracks, vbench, vbench-results, vlm",
  ),
  "doctor": Command(
    "doctor", "doctor", _MACHINE, "what there is, and what is missing"
  ),
}

_IN_BUCKETS = {("data", "cache")}
_WEB = ("http://", "https://")


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs one subcommand.

  Args:
    arguments: what follows `more4d`; the process's own unless given.

  Returns: 0; 2 after a mistake of the user, whose line is on stderr; 3 if only
    a part of the results could be made.
  """
  arguments = list(sys.argv[1:] if arguments is None else arguments)
  if not arguments or arguments[0] in ("-h", "--help"):
    print(_help("more4d", _grouped(COMMANDS)))
    return 0
  if arguments[0] == "--version":
    import more4d_jax

    print(more4d_jax.__version__)
    return 0
  try:
    with _notes_on_stdout():
      _check_places(arguments)
      command = parse(arguments)
      if COMMANDS[arguments[0]].compiles:
        compilation_cache.use()
      command()
  except failures.FAILURES as error:
    unknown = isinstance(error, RuntimeError)
    if unknown and not failures.is_out_of_memory(error):
      raise
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


def _check_places(arguments: Sequence[str]) -> None:
  """Keeps names of buckets from being taken for those of folders.

  Raises:
    UserError: if a command is given one that works on files of this machine.
  """
  if tuple(arguments[:2]) in _IN_BUCKETS:
    return
  for word in arguments:
    value = word.partition("=")[2] if word.startswith("-") else word
    if value.startswith(_WEB) or re.search(r"\s", value):
      continue  # A judge's address, or a sentence.
    if locations.is_distant(value):
      locations.here(value, f"an argument of more4d {arguments[0]}")


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
  """Prints the library's warnings to standard output, errors go to stderr."""
  log, notes = logging.getLogger("more4d_jax"), _Notes()
  propagated = log.propagate
  log.addHandler(notes)
  log.propagate = False  # Other libraries' handlers would print them again.
  try:
    yield
  finally:
    log.removeHandler(notes)
    log.propagate = propagated


def parse(arguments: Sequence[str]) -> Callable[[], None]:
  """Checks a command line, and returns what it asks for without doing it.

  Args:
    arguments: what follows `more4d`; at least the subcommand's name.

  Raises:
    UserError: unknown subcommand, unknown flag or a value of another type.
  """
  name, *rest = arguments
  command = _lookup("more4d", COMMANDS, name)
  module = importlib.import_module(f"{_ROOM}.{command.module}")
  found = getattr(module, command.function)
  if isinstance(found, Mapping):
    return _subcommand(f"more4d {name}", found, rest)
  return _bind(f"more4d {name}", found, rest)


def _subcommand(
  program: str, commands: Mapping[str, Callable], arguments: Sequence[str]
) -> Callable[[], None]:
  if not arguments or arguments[0] in ("-h", "--help"):
    lines = {
      name: (function.__doc__ or "").partition("\n")[0]
      for name, function in commands.items()
    }
    return functools.partial(print, _help(program, {"commands": lines}))
  function = _lookup(program, commands, arguments[0])
  return _bind(f"{program} {arguments[0]}", function, arguments[1:])


def _lookup(program: str, commands: Mapping[str, Any], name: str) -> Any:
  if name not in commands:
    raise errors.UserError(
      f"{program} has no subcommand {name!r}: choose one of "
      f"{', '.join(commands)}"
    )
  return commands[name]


def _bind(
  program: str, function: Callable, arguments: Sequence[str]
) -> Callable[[], None]:
  """The function with its parsed flags; a mistake in a flag is one line."""
  import tyro

  @functools.wraps(function)
  def parsed(*values: Any, **named: Any) -> Callable:
    return functools.partial(function, *values, **named)

  complaint = io.StringIO()
  try:
    with contextlib.redirect_stderr(complaint):
      return tyro.cli(
        parsed,
        args=list(arguments),
        prog=program,
        config=(tyro.conf.OmitArgPrefixes,),
      )
  except SystemExit as stop:
    if not stop.code:
      return lambda: None  # --help has been printed.
    words = re.sub(r"[^\x20-\x7e]+|-{2,}(?!\w)", " ", complaint.getvalue())
    raise errors.UserError(" ".join(words.split())) from stop


def _grouped(commands: Mapping[str, Command]) -> dict[str, dict[str, str]]:
  """Group -> name -> help, in the order in which they are declared."""
  groups: dict[str, dict[str, str]] = {}
  for name, command in commands.items():
    groups.setdefault(command.group, {})[name] = command.help
  return groups


def _help(program: str, groups: Mapping[str, Mapping[str, str]]) -> str:
  """The list of commands; the help of all groups begins in one column."""
  width = max(len(name) for lines in groups.values() for name in lines)
  text = [f"usage: {program} COMMAND [--help] [options]"]
  for group, lines in groups.items():
    rows = [f"  {name:<{width}}  {line}" for name, line in lines.items()]
    text.append("\n".join([f"{group}:", *rows]))
  return "\n\n".join(text)


def _fail(message: Exception | str) -> int:
  if isinstance(message, OSError):
    line = flag_errors.describe_file(message)
  elif isinstance(message, Exception):
    line = failures.one_line(message)
  else:
    line = message
  print(f"error: {' '.join(line.split())}", file=sys.stderr)
  return 3 if isinstance(message, errors.PartlyDoneError) else 2


if __name__ == "__main__":
  sys.exit(main())
