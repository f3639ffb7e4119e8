"""Where results go: whether they can be written, and JSON written whole."""

import errno
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from more4d_jax import errors

_FREE_BYTES = 64 << 20  # A film or a scene; weights check their own.


def check_folder(path: pathlib.Path) -> None:
  """Makes sure that a folder can be made or filled.

  Nothing is left behind: a file is made and removed in the nearest folder
  above that exists.

  Raises:
    UserError: if something is no folder, may not be written to, or is full.
  """
  place = path.absolute()
  while not os.path.lexists(place):
    place = place.parent
  if not place.is_dir():
    raise errors.UserError(
      f"cannot use {path}: {place} is not a folder; name another place"
    )
  try:
    with tempfile.TemporaryFile(dir=place):
      pass
  except OSError as error:
    if error.errno == errno.ENOSPC:
      raise _full(path, 0) from error
    raise errors.UserError(
      f"cannot use {path}: {place} may not be written to ({error.strerror}); "
      "name another place, or change its permissions"
    ) from error
  free = shutil.disk_usage(place).free
  if free < _FREE_BYTES:
    raise _full(path, free)


def check_file(path: pathlib.Path) -> None:
  """Makes sure that a file can be written; see `check_folder`.

  Raises:
    UserError: also if a folder has its name.
  """
  if path.is_dir():
    raise errors.UserError(
      f"cannot use {path}: it is a folder; name a file in it"
    )
  check_folder(path.absolute().parent)


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  """Writes JSON for people to read too, whole or not at all."""
  partial = path.with_name(f"{path.name}.partial")
  partial.write_text(json.dumps(value, indent=2) + "\n")
  os.replace(partial, path)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """What `write_json` wrote; empty if there is no such file, or another one."""
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _full(path: pathlib.Path, free: int) -> errors.UserError:
  return errors.UserError(
    f"cannot use {path}: its disk has {free >> 20} MiB left, expected "
    f"{_FREE_BYTES >> 20}; free some, or name another disk"
  )
