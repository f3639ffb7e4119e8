"""Lists on a command line: repeated flags, or separate arguments of one."""

from collections.abc import Callable
from typing import Annotated

import tyro

from more4d_jax import errors, item_lists

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
    item
    for group in words
    for word in group
    for item in item_lists.split(word, is_item)
  )
  if words and not found:
    raise errors.UserError(
      f"expected one or more arguments after {flag}, found none: add them, or "
      "leave the flag out"
    )
  return found
