"""Functions of a user's own modules, named on the command line."""

import importlib
import os
import sys
from collections.abc import Callable

from more4d_jax import errors


def named(name: str, what: str, expected: str) -> Callable:
  """Finds MODULE:FUNCTION; modules of the working directory count.

  Args:
    name: of the function.
    what: it is for, as in "no depth function ...".
    expected: of the user, for the message.

  Raises:
    UserError: there is no such function.
  """
  module, _, function = name.partition(":")
  if os.getcwd() not in sys.path:  # As `python -m` has it.
    sys.path.append(os.getcwd())
  try:
    return getattr(importlib.import_module(module), function)
  except (ImportError, AttributeError) as error:
    raise errors.UserError(
      f"no {what} function {name} ({error}); expected {expected}"
    ) from error
