"""Members of a tar stream, one after the other, never trusting a size.

Python's `tarfile` parses the headers, but reads extended ones into memory at
whatever size they claim; this reader bounds them, needs no seeking and tells a
cut-off archive from a finished one. It knows ustar, GNU long names and pax
paths and sizes.
"""

import dataclasses
import tarfile
from collections.abc import Iterator
from typing import IO

_BLOCK = 512
_MAX_EXTENSION = 1 << 20  # Bytes of an extended header.
_CHUNK = 1 << 20
_MOST_DIGITS = 20  # Of a size.
_MOST_AFTER = 16 << 20  # Bytes after the end marker that are read.
_LABELS = {
  tarfile.REGTYPE: "file",
  tarfile.AREGTYPE: "file",
  tarfile.DIRTYPE: "folder",
}


class DamagedError(ValueError):
  """The archive ends early or is none."""


@dataclasses.dataclass(frozen=True)
class Member:
  """What stands in the archive under a name.

  Attributes:
    name: as it stands in the archive; not to be used as a path.
    size: bytes.
    kind: "file", "folder" or "no regular file" (a link, a device, ...).
  """

  name: str
  size: int
  kind: str


def members(stream: IO[bytes]) -> Iterator[tuple[Member, "Content"]]:
  """Yields each member and its content, which must be read before the next.

  Raises:
    DamagedError: the archive is cut off or damaged. What came before is good.
  """
  extension: dict[str, str] = {}
  while True:
    header = _exactly(stream, _BLOCK)
    if not header.strip(b"\0"):
      return
    try:
      info = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
    except (tarfile.HeaderError, ValueError) as error:
      raise DamagedError(
        "a header is damaged, or this is no tar archive"
      ) from error
    size, kind = info.size, info.type
    if size < 0:
      raise DamagedError("a header is damaged")
    if kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
      if size > _MAX_EXTENSION:
        raise DamagedError(f"an extended header claims {size} bytes")
      body = _exactly(stream, _padded(size))[:size]
      if kind == tarfile.XHDTYPE:
        extension |= _pax(body)
      elif kind == tarfile.GNUTYPE_LONGNAME:
        extension["path"] = body.rstrip(b"\0").decode(errors="replace")
      continue
    if "size" in extension:
      size = int(extension["size"])
    content = Content(stream, size)
    label = _LABELS.get(kind, "no regular file")
    yield Member(extension.get("path", info.name), size, label), content
    content.skip()
    extension = {}


def after_end(stream: IO[bytes]) -> str | None:
  """Reads what follows the end marker, so that a checksum at the end counts.

  Returns: what is there but padding, in words; None if there is nothing.
  """
  total, last = 0, 0
  while chunk := stream.read(_CHUNK):
    filled = len(chunk.rstrip(b"\0"))
    last = total + filled if filled else last
    total += len(chunk)
    if total > _MOST_AFTER:
      return f"more than {_MOST_AFTER} bytes"
  return f"{last} bytes" if last else None


class Content:
  """The bytes of one member."""

  def __init__(self, stream: IO[bytes], size: int):
    """Reads nothing yet."""
    self._stream = stream
    self._left = size
    self._padding = _padded(size) - size

  def chunks(self) -> Iterator[bytes]:
    """Yields the rest of it.

    Raises:
      DamagedError: the archive ends before.
    """
    while self._left:
      chunk = self._stream.read(min(_CHUNK, self._left))
      if not chunk:
        raise DamagedError("the archive ends inside a member")
      self._left -= len(chunk)
      yield chunk

  def skip(self) -> None:
    """Reads to where the next member begins."""
    for _ in self.chunks():
      pass
    _exactly(self._stream, self._padding)
    self._padding = 0


def _exactly(stream: IO[bytes], size: int) -> bytes:
  content = stream.read(size)
  if len(content) != size:
    raise DamagedError("the archive ends early")
  return content


def _padded(size: int) -> int:
  return -(-size // _BLOCK) * _BLOCK


def _pax(body: bytes) -> dict[str, str]:
  """Paths and sizes out of the lines, each `LENGTH KEY=VALUE`."""
  found = {}
  while body:
    digits, space, _ = body.partition(b" ")
    if not (space and digits.isdigit() and 0 < int(digits) <= len(body)):
      raise DamagedError("an extended header is damaged")
    line, body = body[len(digits) + 1 : int(digits) - 1], body[int(digits) :]
    key, _, value = line.partition(b"=")
    if key == b"size" and not (value.isdigit() and len(value) < _MOST_DIGITS):
      raise DamagedError("an extended header is damaged")
    if key in (b"path", b"size"):
      found[key.decode()] = value.decode(errors="replace")
  return found
