"""Libraries of other people's networks, imported where they are used."""

import importlib
import pathlib
from typing import Any

from more4d_jax import errors


def module(name: str, user: str, install: str) -> Any:
  """Imports a module of a library that is not a dependency.

  Args:
    name: of the module.
    user: what needs it, as in "the tracker 'cotracker3'".
    install: command that installs it.

  Raises:
    UserError: it cannot be imported.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise errors.UserError(
      f"{user} needs {name.partition('.')[0]} ({error}): {install}"
    ) from error


def torch(user: str) -> tuple[Any, str]:
  """PyTorch, and the name of the device that its networks run on.

  Raises:
    UserError: PyTorch is not installed.
  """
  found = module("torch", user, "pip install torch")
  return found, "cuda" if found.cuda.is_available() else "cpu"


def weights_file(path: str, user: str) -> pathlib.Path:
  """A file of a network's weights that is there.

  Raises:
    UserError: it is not.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    raise errors.UserError(
      f"expected the weights of {user} at {file}, found no such file: check "
      "--weights"
    )
  return file
