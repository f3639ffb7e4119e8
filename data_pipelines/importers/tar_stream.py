"""Members of a tar stream, one after the other, never trusting a size.

Python's `tarfile` reads extended headers into memory at whatever size they
claim; this reader bounds them, needs no seeking and tells a cut-off archive
from a finished one. It knows ustar, GNU long names and pax paths and sizes.
"""

import dataclasses
from collections.abc import Iterator
from typing import IO

_BLOCK = 512
_MAX_EXTENSION = 1 << 20  # Bytes of an extended header.
_CHUNK = 1 << 20
_FILES = (b"0", b"\0")


class DamagedError(ValueError):
  """The archive ends early or is none."""


@dataclasses.dataclass(frozen=True)
class Member:
  """A regular file of the archive; anything else has `kind` set.

  Attributes:
    name: as it stands in the archive; not to be used as a path.
    size: bytes.
    kind: "file", or what else it is (a link, a device, ...).
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
    _check(header)
    name, size, kind = _name(header), _size(header[124:136]), header[156:157]
    if kind in b"xgL" and kind:
      if size > _MAX_EXTENSION:
        raise DamagedError(f"an extended header claims {size} bytes")
      body = _exactly(stream, _padded(size))[:size]
      if kind == b"x":
        extension |= _pax(body)
      elif kind == b"L":
        extension["path"] = body.rstrip(b"\0").decode(errors="replace")
      continue
    if "size" in extension:
      size = int(extension["size"])
    content = Content(stream, size)
    label = "file" if kind in _FILES else "no regular file"
    yield Member(extension.get("path", name), size, label), content
    content.skip()
    extension = {}


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


def _check(header: bytes) -> None:
  """Compares the header with its checksum."""
  counted = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
  if counted != _size(header[148:156]):
    raise DamagedError("a header is damaged, or this is no tar archive")


def _name(header: bytes) -> str:
  name = header[:100].split(b"\0")[0]
  prefix = header[345:500].split(b"\0")[0]
  if header[257:263] == b"ustar\0" and prefix:
    name = prefix + b"/" + name
  return name.decode(errors="replace")


def _size(field: bytes) -> int:
  if field[0] & 0x80:  # Base 256, for what octal digits cannot hold.
    return int.from_bytes(field[1:], "big")
  try:
    return int(field.strip(b"\0 ") or b"0", 8)
  except ValueError as error:
    raise DamagedError("a header is damaged") from error


def _pax(body: bytes) -> dict[str, str]:
  """Paths and sizes out of the lines, each `LENGTH KEY=VALUE`."""
  found = {}
  while body:
    digits, space, _ = body.partition(b" ")
    if not (space and digits.isdigit() and 0 < int(digits) <= len(body)):
      raise DamagedError("an extended header is damaged")
    line, body = body[len(digits) + 1 : int(digits) - 1], body[int(digits) :]
    key, _, value = line.partition(b"=")
    if key in (b"path", b"size"):
      found[key.decode()] = value.decode(errors="replace")
  if not found.get("size", "0").isdigit():
    raise DamagedError("an extended header is damaged")
  return found
