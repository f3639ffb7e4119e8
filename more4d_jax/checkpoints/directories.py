"""Directories that get their names when they are complete."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils


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


def _temporary(final: pathlib.Path) -> pathlib.Path:
  temporary = final.with_name(final.name + ".partial")
  if jax.process_index() == 0:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
  return temporary


@contextlib.contextmanager
def new_directory(
  directory: str | os.PathLike[str],
) -> Iterator[pathlib.Path]:
  """A directory to fill, which gets its name when all went well.

  An older one of that name is replaced then; after an error nothing is left.
  All processes of a run fill the same directory.
  """
  final = pathlib.Path(directory).absolute()
  temporary = _temporary(final)
  _meet(f"made {temporary}")
  try:
    yield temporary
  except BaseException:
    if jax.process_index() == 0:
      shutil.rmtree(temporary, ignore_errors=True)
    raise
  _meet(f"filled {temporary}")
  if jax.process_index() == 0:
    _replace_directory(temporary, final)
  _meet(f"named {final}")


def _meet(what: str) -> None:
  """Waits until every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
