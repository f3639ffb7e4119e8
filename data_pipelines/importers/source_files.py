"""Finding the files of a source, and reading pickles without running them."""

import collections
import functools
import gzip
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from data_pipelines.importers import scene as scene_lib
from more4d_jax import errors
from more4d_jax.pickles import files as pickled

Unit = tuple[str, ...]
Units = Callable[[Sequence[str]], list[Unit]]
Found = Callable[[Unit, scene_lib.Settings], Iterator[scene_lib.Found]]
Read = Callable[[pathlib.Path, str, scene_lib.Settings], scene_lib.Scene]


def files(
  paths: Sequence[str], suffixes: tuple[str, ...]
) -> list[pathlib.Path]:
  """Files with one of the suffixes, named or below named folders, sorted.

  Raises:
    UserError: a path does not exist.
  """
  found = set()
  for path in map(pathlib.Path, paths):
    if path.is_dir():
      below = (p for suffix in suffixes for p in path.rglob(f"*{suffix}"))
      found.update(p for p in below if p.is_file())
    elif path.is_file():
      found.add(path)
    else:
      raise errors.UserError(f"{path} does not exist; expected a source")
  return sorted(found)


def folders(paths: Sequence[str], names: Sequence[str]) -> list[pathlib.Path]:
  """Folders that hold one of the named files, sorted."""
  found = set()
  for path in map(pathlib.Path, paths):
    if not path.is_dir():
      raise errors.UserError(f"{path} is no folder; expected a source")
    found.update(p.parent for name in names for p in path.rglob(name))
  return sorted(found)


def labels(
  paths: Sequence[pathlib.Path], names: Sequence[str] | None = None
) -> list[str]:
  """A name for every path; alike ones get their folders' names before.

  Args:
    paths: files or folders, no two alike.
    names: what to begin with; the file names without suffix unless given.
  """
  names = [path.stem for path in paths] if names is None else list(names)
  above = [list(path.absolute().parts[1:-1]) for path in paths]
  while len(set(names)) < len(names):
    counted = collections.Counter(names)
    names = [
      f"{parts.pop()}-{name}" if counted[name] > 1 and parts else name
      for name, parts in zip(names, above)
    ]
  return names


def one_per_file(suffixes: tuple[str, ...], read: Read) -> tuple[Units, Found]:
  """Returns `units` and `found` of a kind whose files hold one scene each."""

  def units(paths: Sequence[str]) -> list[Unit]:
    chosen = files(paths, suffixes)
    return list(zip(map(str, chosen), labels(chosen)))

  return units, one_per_unit(read)


def one_per_unit(read: Read) -> Found:
  """Returns `found` of a kind whose units begin with a path and a name.

  The scene is read when `read` is called.
  """

  def found(
    unit: Unit, settings: scene_lib.Settings
  ) -> Iterator[scene_lib.Found]:
    path, name = pathlib.Path(unit[0]), unit[1]
    yield scene_lib.Found(name, functools.partial(read, path, name, settings))

  return found


def caption(path: pathlib.Path) -> str | None:
  """The text of a file; None if there is no file or nothing in it."""
  if not path.is_file():
    return None
  return path.read_text(errors="replace").strip() or None


def check_size(path: pathlib.Path, limit: int) -> None:
  """Raises Refused for a file larger than the limit."""
  size = path.stat().st_size
  if size > limit:
    raise scene_lib.Refused(
      f"{path.name} has {size} bytes, more than the limit of {limit}"
    )


def read_gzip(path: pathlib.Path, limit: int) -> bytes:
  """The content of a gzip file.

  Raises:
    UserError: damaged, or more than `limit` bytes.
  """
  try:
    with gzip.open(path, "rb") as file:
      content = file.read(limit + 1)
  except (OSError, EOFError) as error:
    raise errors.UserError(f"{path} cannot be read ({error})") from error
  if len(content) > limit:
    raise errors.UserError(f"{path} holds more than {limit} bytes")
  return content


def refuse(reason: str) -> NoReturn:
  """Raises Refused; what is read of a scene that cannot be read."""
  raise scene_lib.Refused(reason)


def unpickled(path: str | os.PathLike[str]) -> Any:
  """Arrays out of a pickle or .pth file; nothing in it is executed.

  Raises:
    Refused: it is damaged, or names anything but arrays and tensors.
  """
  try:
    return pickled.read(path)
  except errors.UserError as error:
    reason = str(error).replace(os.fspath(path), "its pickle")
    raise scene_lib.Refused(reason) from error
