"""Mistakes in flags and with files, each in one line."""

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
    field = last.split()[0].strip("\"'")
    named = [
      argument.partition("=")[0].partition(".")[2]
      for argument in arguments
      if argument.partition("=")[0].endswith(f".{field}")
    ]
    return (
      f"unknown config field {(named or [field])[0]!r}: the fields stand in "
      "the file given to --config and in configs/common.py"
    )
  # A mistake inside a configuration file arrives with its whole traceback.
  return last.removeprefix("ValueError: ").removeprefix("TypeError: ")


def describe_file(error: OSError) -> str:
  """Returns which file or directory could not be used, why, and what to do."""
  if error.filename is None:
    return str(error) or type(error).__name__
  name = error.filename2 or error.filename
  return (
    f"cannot use {name}: {error.strerror}; check that path, its permissions "
    "and the free space"
  )
