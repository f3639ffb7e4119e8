"""Files of a data set in the making: whole or not there, one writer at a time.

What `make` and the importers share: parts (one file per record), shards that
parts are packed into, and the manifest that comes last.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data_pipelines.trajscene import builder, features
from more4d_jax import errors
from more4d_jax.data import record_directory, records
from more4d_jax.data.codec import array_codec

MANIFEST_FILE = "manifest.json"
_PARTS = "parts"
_OPTIONS_FILE = "options.json"


def check_split(split: str) -> None:
  """Raises UserError for a split whose name cannot stand in file names."""
  if not split.isidentifier():
    raise errors.UserError(
      f"split is {split!r}; expected a name of letters, digits and _"
    )


def write_file(path: pathlib.Path, content: bytes) -> None:
  """Writes a file whole or not at all.

  Raises:
    OSError: it could not be written; nothing half-written stays.
  """
  temporary = path.with_name(f"{path.name}.{os.getpid()}.incomplete")
  try:
    temporary.write_bytes(content)
    os.replace(temporary, path)
  except OSError:
    temporary.unlink(missing_ok=True)
    raise


def file_digest(path: pathlib.Path) -> str:
  """The file's SHA-256 in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def opened(
  out: pathlib.Path, identity: Mapping[str, Any]
) -> Iterator[pathlib.Path | None]:
  """Yields the folder of parts of a data set, or None if it is finished.

  The folder is this process's alone while it is held, and deleted at the end.
  What an earlier run with the same identity left in it is still there.

  Args:
    out: directory of the data set, made if it is not there.
    identity: what decides its files, ready for JSON.

  Raises:
    UserError: a directory of something else, another run at work in it, a
      disk that is full or read-only (also while it is held).
  """
  try:
    if (out / MANIFEST_FILE).is_file():
      _compare(out, out / MANIFEST_FILE, identity)
      shutil.rmtree(out / _PARTS, ignore_errors=True)
      yield None
      return
    parts = _prepare(out)
    with lock(parts):
      _identify(out, parts / _OPTIONS_FILE, identity)
      yield parts
      shutil.rmtree(parts)
  except OSError as error:
    raise errors.UserError(
      f"cannot write records to {out}: {error.strerror or error}; started "
      f"again, the command continues"
    ) from error


@contextlib.contextmanager
def lock(parts: pathlib.Path) -> Iterator[None]:
  """Keeps other processes out of a directory of parts.

  Raises:
    UserError: another one is in it.
  """
  with (parts / "lock").open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise errors.UserError(
        f"another process is making records in {parts.parent}; wait for it, or "
        f"choose another directory"
      ) from error
    yield


def pack(path: pathlib.Path, parts: Sequence[pathlib.Path]) -> None:
  """Joins parts to a shard and deletes them.

  Raises:
    UserError: a part is damaged; it is deleted.
    OSError: the shard could not be written.
  """
  record_directory.write_shard(path, (_checked(part) for part in parts))
  for part in parts:
    part.unlink()


def finish(
  out: pathlib.Path,
  split: str,
  paths: Sequence[pathlib.Path],
  lengths: Sequence[int],
  identity: Mapping[str, Any],
) -> None:
  """Writes the metadata and, last, the manifest of finished shards.

  Args:
    out: directory of the data set.
    split: its name.
    paths: the shards in order.
    lengths: records in each.
    identity: what decided the files; it stands at the manifest's top.
  """
  sizes = [path.stat().st_size for path in paths]
  # Metadata appears whole: readers take it for the sign of a data set.
  with tempfile.TemporaryDirectory(
    suffix=".incomplete", prefix="metadata.", dir=out
  ) as staged:
    builder.write_metadata(out, split, lengths, sum(sizes), staged)
    for name in (features.FILE, record_directory.INFO_FILE):
      os.replace(pathlib.Path(staged, name), out / name)
  manifest = {
    **identity,
    "schema_version": records.SCHEMA_VERSION,
    "codec_version": array_codec.VERSION,
    "shards": [
      {
        "file": path.name,
        "records": length,
        "bytes": size,
        "sha256": file_digest(path),
      }
      for path, length, size in zip(paths, lengths, sizes)
    ],
  }
  text = json.dumps(manifest, indent=2, sort_keys=True)
  write_file(out / MANIFEST_FILE, text.encode())


def _checked(part: pathlib.Path) -> bytes:
  entry = part.read_bytes()
  try:
    records.verify(record_directory.deserialise(entry))
  except (array_codec.DamagedError, ValueError) as error:
    part.unlink()
    raise errors.UserError(
      f"{part} was damaged ({error}) and is deleted; run the command again"
    ) from error
  return entry


def _prepare(out: pathlib.Path) -> pathlib.Path:
  """Makes `parts/`, or finds that of an earlier run."""
  parts = out / _PARTS
  there = out.iterdir() if out.exists() else ()
  others = any(path.name != _PARTS for path in there)
  if others and not (parts / _OPTIONS_FILE).is_file():
    raise errors.UserError(
      f"{out} holds other files; choose a new directory for the records"
    )
  parts.mkdir(parents=True, exist_ok=True)
  return parts


def _identify(
  out: pathlib.Path, file: pathlib.Path, identity: Mapping[str, Any]
) -> None:
  """Notes what is made here, or compares it with what an earlier run noted.

  Held under the lock: of two that begin at once, the second must not replace
  the note of the first.
  """
  identity = {**identity, "schema_version": records.SCHEMA_VERSION}
  if file.is_file():
    _compare(out, file, identity)
    return
  text = json.dumps(identity, indent=2, sort_keys=True)
  write_file(file, text.encode())


def _compare(
  out: pathlib.Path, file: pathlib.Path, identity: Mapping[str, Any]
) -> None:
  try:
    # Before it was noted, there was one version only.
    found = _flat({"schema_version": 1, **json.loads(file.read_text())})
  except (ValueError, TypeError) as error:
    raise errors.UserError(
      f"{file} is damaged ({error}); delete {out} and run the command again"
    ) from error
  for name, wanted in _flat(identity).items():
    if found.get(name) != wanted:
      raise errors.UserError(
        f"{out} holds records of other options: {name} is {found.get(name)!r}, "
        f"asked for {wanted!r}; choose another directory, or delete it"
      )


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
  """Values by name, those of nested tables as well."""
  values = {}
  for name, value in identity.items():
    values |= _flat(value) if isinstance(value, Mapping) else {name: value}
  return values
