"""Mistakes in flags and with files, each in one line."""

import difflib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
  field = (named or words[:1])[0]
  known = _known_fields(arguments)
  last = {name.rpartition(".")[2]: name for name in known}
  near = difflib.get_close_matches(field, known, n=1) or [
    last[name]
    for name in difflib.get_close_matches(field.rpartition(".")[2], last, n=1)
  ]
  advice = f"did you mean {near[0]!r}; " if near else ""
  return (
    f"unknown config field {field!r}: {advice}the fields stand in the file "
    "given to --config and in configs/common.py"
  )


def _known_fields(arguments: Sequence[str]) -> list[str]:
  """Dotted names in the configuration that --config=FILE gives."""
  given = [a.partition("=")[2] for a in arguments if a.startswith("--config=")]
  if not given:
    return []
  file, _, text = given[-1].partition(":")
  spec = importlib.util.spec_from_file_location("given_config", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config(*([text] if text else []))

  def names(section: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in section.items():
      yield f"{prefix}{name}"
      if isinstance(value, Mapping):
        yield from names(value, f"{prefix}{name}.")

  return list(names(config.to_dict(), ""))


def describe_file(error: OSError) -> str:
  """Returns which file or directory could not be used, why, and what to do."""
  if error.filename is None:
    return str(error) or type(error).__name__
  name = error.filename2 or error.filename
  return (
    f"cannot use {name}: {error.strerror}; check that path, its permissions "
    "and the free space"
  )
