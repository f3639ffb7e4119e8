"""Where files lie: on this machine, or in a bucket (`gs://BUCKET/...`).

A user's text becomes a location here and nowhere else, so that no bucket's
name is ever taken for that of a folder. A location of this machine is a
`pathlib.Path`, one of a bucket has the same methods (`etils.epath`).

An object of a bucket is there whole or not at all, but it cannot grow, a
folder cannot be renamed at once, and many libraries write files of this
machine only: for these there are `Mirror`, `written_here` and `brought_here`.
"""

import atexit
import contextlib
import importlib.util
import os
import pathlib
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator

from etils import epath

from more4d_jax import errors

# A bucket's paths have no common class with those of this machine.
Location = pathlib.Path | epath.Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"gs://[^/]+(/.*)?")
# Copied anew at most so often while it grows, unless somebody insists.
_RENEW_SECONDS = 60
_PIECE_BYTES = 16 << 20


def is_distant(text: str | os.PathLike[str]) -> bool:
  """Whether a text names something that is not on this machine."""
  return _SCHEME.match(os.fspath(text)) is not None


def path(text: str | os.PathLike[str]) -> Location:
  """The location that a user's text names.

  Raises:
    UserError: if it is of a kind that cannot be read and written.
  """
  name = os.fspath(text)
  if not is_distant(name):
    return pathlib.Path(name)
  scheme = _SCHEME.match(name)[1]
  if scheme != "gs":
    raise errors.UserError(
      f"{name} cannot be read or written, {scheme}:// is not known: expected "
      "a folder of this machine (a mounted bucket is one), or gs://BUCKET/NAME"
    )
  if not _BUCKET.fullmatch(name):
    raise errors.UserError(
      f"{name} names no bucket: expected gs://BUCKET/NAME, or a folder of this "
      "machine"
    )
  _prepare(name)
  return epath.Path(name)


def absolute(text: str | os.PathLike[str]) -> Location:
  """As `path`, from the root."""
  found = path(text)
  return found.absolute() if isinstance(found, pathlib.Path) else found


def here(text: str | os.PathLike[str], what: str) -> pathlib.Path:
  """The path on this machine that a text names.

  Args:
    text: a user's.
    what: it is, for a message.

  Raises:
    UserError: if it is elsewhere.
  """
  if is_distant(text):
    raise errors.UserError(
      f"{what} is {os.fspath(text)}, which is not on this machine: mount it, "
      "or copy it here, and name that folder"
    )
  return pathlib.Path(text)


def _prepare(name: str) -> None:
  """Makes sure that a bucket is read by one library, and never from memory."""
  if importlib.util.find_spec("gcsfs") is None:
    raise errors.UserError(
      f"{name} needs the library gcsfs: run pip install 'more4d_jax[gcs]'"
    )
  import fsspec

  os.environ.setdefault("EPATH_USE_TF", "false")
  # Other processes write there too, so that a list is soon an old one.
  for protocol in ("gcs", "gs"):
    fsspec.config.conf.setdefault(protocol, {}).setdefault(
      "use_listings_cache", False
    )


def check_writable(folder: Location) -> None:
  """Writes and removes a small object where a folder is distant.

  Raises:
    UserError: if that fails.
  """
  if isinstance(folder, pathlib.Path):
    return
  import google.auth.exceptions
  from gcsfs import retry

  place = folder / f"access-{secrets.token_hex(4)}"
  refusals = (OSError, retry.HttpError, google.auth.exceptions.GoogleAuthError)
  try:
    place.write_text("")
    place.unlink()
  except refusals as error:
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    raise errors.UserError(
      f"{folder} cannot be written to ({line}): look at the bucket's name and "
      "permissions, and log in with `gcloud auth application-default login`"
    ) from error


def size(file: Location) -> int:
  """Bytes of a file."""
  found = file.stat()
  return found.st_size if isinstance(file, pathlib.Path) else found.length


def files_below(folder: Location) -> list[Location]:
  """All files in a folder and below it, in order."""
  if isinstance(folder, pathlib.Path):
    return sorted(p for p in folder.rglob("*") if p.is_file())
  found = []
  for place, _, names in folder.walk():
    base = epath.Path(f"gs://{os.fspath(place).removeprefix('gs://')}")
    found += [base / name for name in names if name]
  return sorted(found)


def remove_tree(folder: Location) -> None:
  """Removes a folder with all that is in it, if it is there."""
  if isinstance(folder, pathlib.Path):
    shutil.rmtree(folder, ignore_errors=True)
  else:
    folder.rmtree(missing_ok=True)


def copy_file(source: Location, target: Location) -> None:
  """Copies the bytes of a file; the folder of the new one is there."""
  with source.open("rb") as reader, target.open("wb") as writer:
    while piece := reader.read(_PIECE_BYTES):
      writer.write(piece)


def copy_tree(source: Location, target: Location) -> None:
  """Copies all files of a folder into another, which is made."""
  for file in files_below(source):
    copied = target / file.relative_to(source).as_posix()
    copied.parent.mkdir(parents=True, exist_ok=True)
    copy_file(file, copied)


@contextlib.contextmanager
def written_here(final: Location) -> Iterator[pathlib.Path]:
  """A path for a library that writes files or folders of this machine only.

  Args:
    final: where what it writes belongs. It is copied there at the end if that
      is elsewhere.
  """
  if isinstance(final, pathlib.Path):
    yield final
    return
  with tempfile.TemporaryDirectory() as folder:
    made = pathlib.Path(folder) / final.name
    yield made
    if made.is_dir():
      copy_tree(made, final)
    elif made.exists():
      copy_file(made, final)


def brought_here(source: Location) -> pathlib.Path:
  """A file or folder for a library that reads those of this machine only.

  It is the one itself, or a copy that lasts as long as this process.
  """
  if isinstance(source, pathlib.Path):
    return source
  place = pathlib.Path(tempfile.mkdtemp(prefix="more4d-"))
  atexit.register(shutil.rmtree, place, ignore_errors=True)
  if source.is_dir():
    copy_tree(source, place / source.name)
  else:
    copy_file(source, place / source.name)
  return place / source.name


class Mirror:
  """A folder of this machine whose files grow, and their copies elsewhere.

  Of a folder of this machine nothing is copied.

  Attributes:
    here: where files are written.
  """

  def __init__(self, folder: Location):
    """Makes the folder.

    Args:
      folder: where the files belong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self._folder, self._copied = folder, dict[pathlib.Path, int]()
    self._time = time.monotonic()
    self._distant = not isinstance(folder, pathlib.Path)
    if self._distant:
      self.here = pathlib.Path(tempfile.mkdtemp(prefix="more4d-"))
    else:
      self.here = folder

  def fetch(self, name: str) -> pathlib.Path:
    """The path of a file here, with what was in it before."""
    found = self.here / name
    if self._distant and (self._folder / name).is_file():
      copy_file(self._folder / name, found)
    return found

  def renew(self, *, now: bool) -> None:
    """Copies the files that have grown.

    Args:
      now: also if that was done a moment ago.
    """
    waited = time.monotonic() - self._time
    if not self._distant or (waited < _RENEW_SECONDS and not now):
      return
    for file in files_below(self.here):
      if self._copied.get(file) != file.stat().st_size:
        self._copied[file] = file.stat().st_size
        copied = self._folder / file.relative_to(self.here).as_posix()
        copy_file(file, copied)
    self._time = time.monotonic()

  def close(self) -> None:
    """Copies what has grown, and removes the files here that have copies."""
    self.renew(now=True)
    if self._distant:
      shutil.rmtree(self.here, ignore_errors=True)
