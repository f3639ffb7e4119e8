"""Mistakes in flags and with files, each in one line."""

import re
from collections.abc import Sequence

from absl import flags

# What parsing flags and reading a configuration file raise.
MISTAKES = (
  flags.Error,
  AttributeError,
  KeyError,
  OSError,
  TypeError,
  ValueError,
)


def describe(error: Exception, arguments: Sequence[str]) -> str:
  """Returns what was wrong and what to do.

  Args:
    error: what parsing the flags raised.
    arguments: of the command line.
  """
  if isinstance(error, OSError) and error.filename is not None:
    return describe_file(error)
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  last = lines[-1] if lines else type(error).__name__
  if isinstance(error, KeyError | AttributeError):
    return _unknown_field(str(error), arguments)
  # A mistake inside a configuration file arrives with its whole traceback.
  return last.removeprefix("ValueError: ").removeprefix("TypeError: ")


def _unknown_field(message: str, arguments: Sequence[str]) -> str:
  """What to tell about a field that a configuration does not have.

  Args:
    message: of the error; it names the field among quotes and backslashes.
    arguments: of the command line; they hold the field's whole name.
  """
  words = re.findall(r"\w+", message.replace("\\n", " "))
  fields = [a.partition("=")[0].partition(".")[2] for a in arguments]
  named = [f for f in fields if f and f.rpartition(".")[2] in words]
  near = re.search(r'Did you mean "(\w+)"', message)
  advice = f"did you mean {near[1]!r}; " if near else ""
  return (
    f"unknown config field {(named or words[:1])[0]!r}: {advice}the fields "
    "stand in the file given to --config and in configs/common.py"
  )


def describe_file(error: OSError) -> str:
  """Returns which file or directory could not be used, why, and what to do."""
  if error.filename is None:
    return str(error) or type(error).__name__
  name = error.filename2 or error.filename
  return (
    f"cannot use {name}: {error.strerror}; check that path, its permissions "
    "and the free space"
  )
