"""Lists on a command line: repeated flags, or separate arguments of one.

A path may hold any letter, so an argument that is an item as it stands is never
split. An argument that is no item, but whose parts between commas are, is read
as those parts, as command lines of earlier versions were written.
"""

import os
from collections.abc import Callable
from typing import Annotated

import tyro

from more4d_jax import errors

# Of a flag that may be repeated and takes any number of arguments each time.
Words = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]


def items(
  words: Words, is_item: Callable[[str], bool], flag: str
) -> tuple[str, ...]:
  """The items of a flag, in the order of the command line.

  Args:
    words: arguments of each time that the flag was given.
    is_item: whether a text is an item as it stands: a known name, or a file
      that exists.
    flag: for messages.

  Raises:
    UserError: if the flag was given without any item.
  """
  found = tuple(
    item for group in words for word in group for item in split(word, is_item)
  )
  if words and not found:
    raise errors.UserError(
      f"expected one or more arguments after {flag}, found none: add them, or "
      "leave the flag out"
    )
  return found


def split(word: str, is_item: Callable[[str], bool]) -> tuple[str, ...]:
  """The items of one argument; the argument itself unless its parts are some.

  Args:
    word: as the user wrote it.
    is_item: see `items`.
  """
  if is_item(word) or "," not in word:
    return (word,)
  parts = tuple(part.strip() for part in word.split(",") if part.strip())
  return parts if not parts or any(map(is_item, parts)) else (word,)


def directories(text: str) -> tuple[str, ...]:
  """Directories in one argument or field: itself, or those between commas."""
  return split(text, os.path.isdir) if text.strip() else ()
