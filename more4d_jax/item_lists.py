"""Lists in one text, whose items may hold any letter.

A path may hold a comma, so a text that is an item as it stands is never split.
A text that is no item, but whose parts between commas are, is read as those
parts, as command lines of earlier versions were written.
"""

from collections.abc import Callable

from more4d_jax import locations


def split(word: str, is_item: Callable[[str], bool]) -> tuple[str, ...]:
  """The items of one argument; the argument itself unless its parts are some.

  Args:
    word: as the user wrote it.
    is_item: whether a text is an item as it stands: a known name, or a file
      that exists.
  """
  if is_item(word) or "," not in word:
    return (word,)
  parts = tuple(part.strip() for part in word.split(",") if part.strip())
  return parts if not parts or any(map(is_item, parts)) else (word,)


def directories(text: str) -> tuple[str, ...]:
  """Directories in one argument or field: itself, or those between commas."""
  if not text.strip():
    return ()
  return split(text, lambda name: locations.path(name).is_dir())
