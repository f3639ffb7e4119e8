"""Folders of photographs, of any size: only names are held in memory."""

import functools
import hashlib
import os
import pathlib

import numpy as np

from more4d_jax import errors

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_LONGEST_TEXT = 500  # Characters of a caption.


@functools.lru_cache(maxsize=2)
def listing(folder: str) -> tuple[str, ...]:
  """Paths of the pictures below a folder, relative to it, sorted.

  Raises:
    UserError: there is no such folder, or no picture in it.
  """
  if not os.path.isdir(folder):
    raise errors.UserError(f"{folder} is no folder; expected photographs in it")
  found = []
  for root, folders, names in os.walk(folder):
    folders.sort()
    below = os.path.relpath(root, folder)
    found += [
      os.path.normpath(os.path.join(below, name))
      for name in names
      if name.lower().endswith(SUFFIXES)
    ]
  if not found:
    raise errors.UserError(
      f"{folder} holds no photographs; expected {', '.join(SUFFIXES)}"
    )
  return tuple(sorted(found))


def digest(folder: str) -> str:
  """Changes when a picture is added, taken away, renamed or resized."""
  names = hashlib.sha256()
  for name in listing(folder):
    size = os.path.getsize(os.path.join(folder, name))
    names.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
  return names.hexdigest()


def name_of(folder: str, number: int) -> str:
  """The picture for a number: each once, in a mixed order, then again."""
  names = listing(folder)
  turn, place = divmod(number, len(names))
  return names[int(_order(len(names), turn)[place])]


@functools.lru_cache(maxsize=2)
def _order(count: int, turn: int) -> np.ndarray:
  return np.random.default_rng([turn, count]).permutation(count)


def text_of(path: pathlib.Path) -> str:
  """What a .txt file beside a picture says of it, in one line."""
  beside = path.with_suffix(".txt")
  if not beside.is_file():
    return ""
  with beside.open(errors="replace") as file:
    words = file.read(4 * _LONGEST_TEXT).split()
  return " ".join(words)[:_LONGEST_TEXT].rstrip(".")
