"""Directories that get their names when they are complete."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from more4d_jax import locations


def _replace_directory(temporary: pathlib.Path, final: pathlib.Path) -> None:
  """Moves a finished directory to its name, over an older one."""
  if final.exists():
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(final, old)
    os.replace(temporary, final)
    shutil.rmtree(old)
  else:
    os.replace(temporary, final)


@contextlib.contextmanager
def new_directory(
  directory: str | os.PathLike[str], header: str = ""
) -> Iterator[locations.Location]:
  """A directory to fill, which gets its name when all went well.

  An older one of that name is replaced then; after an error nothing is left.
  All processes of a run fill the same directory.

  In a bucket nothing can be renamed at once: there the directory is emptied
  first and filled under its own name, and it counts as absent until its header
  is there, which the caller writes last.

  Args:
    directory: its final name.
    header: name of the file without which the directory is not read.

  Raises:
    UserError: if the directory must not lie in a bucket, as it has no header.
  """
  final = locations.absolute(directory)
  if not isinstance(final, pathlib.Path):
    if not header:
      locations.here(final, "a new directory")
    temporary = final
  else:
    temporary = final.with_name(final.name + ".partial")
  if jax.process_index() == 0:
    if temporary == final:
      (final / header).unlink(missing_ok=True)
    locations.remove_tree(temporary)
    temporary.mkdir(parents=True)
  _meet(f"made {temporary}")
  try:
    yield temporary
  except BaseException:
    if jax.process_index() == 0:
      locations.remove_tree(temporary)
    raise
  _meet(f"filled {temporary}")
  if jax.process_index() == 0 and isinstance(final, pathlib.Path):
    _replace_directory(temporary, final)
  _meet(f"named {final}")


def _meet(what: str) -> None:
  """Waits until every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
