"""Files that have their names only when they are whole."""

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def replaced(
  path: str | os.PathLike[str], suffix: str = ".part"
) -> Iterator[str]:
  """A name to write to; what is there at the end gets the name of the file.

  After an error nothing is left, and an older file of the name stays.

  Args:
    path: of the file; its folder must exist.
    suffix: of the name meanwhile, beside the file.
  """
  final = os.path.abspath(os.fspath(path))
  handle, partial = tempfile.mkstemp(suffix, dir=os.path.dirname(final))
  os.close(handle)
  try:
    yield partial
    os.chmod(partial, 0o644)
    os.replace(partial, final)
  finally:
    if os.path.exists(partial):
      os.remove(partial)
