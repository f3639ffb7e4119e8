"""Digests that tell whether a result is the one that is asked for."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import more4d_jax
from more4d_jax import checkpoint_networks


def digest(
  networks: checkpoint_networks.CheckpointNetworks,
  values: Sequence[Any],
  paths: Sequence[pathlib.Path],
) -> str:
  """16 hexadecimal digits of all that a result follows from.

  Args:
    networks: that make it.
    values: JSON values that were asked for.
    paths: files, folders of files, and names of something else, which are
      passed over; of files the content counts.
  """
  loras = [
    pathlib.Path(lora["file"])
    for changes in networks.loras.values()
    for lora in changes
  ]
  facts = [
    more4d_jax.__version__,
    networks.facts(),
    *values,
    [_content(file) for path in (*paths, *loras) for file in _files(path)],
  ]
  return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def content(path: pathlib.Path) -> str:
  """SHA-256 of a file; of a folder, of the names and SHA-256 of its files."""
  if path.is_file():
    return _content(path)
  inside = [
    (file.relative_to(path).as_posix(), _content(file)) for file in _files(path)
  ]
  return hashlib.sha256(json.dumps(inside).encode()).hexdigest()


def _files(path: pathlib.Path) -> list[pathlib.Path]:
  """A file, or those of a folder; none for a name of something else."""
  inside = sorted(path.rglob("*")) if path.is_dir() else [path]
  return [file for file in inside if file.is_file()]


def _content(file: pathlib.Path) -> str:
  found = file.stat()
  return _digest_of(file, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=1024)
def _digest_of(file: pathlib.Path, changed: int, size: int) -> str:
  """Of a file's bytes; time and size tell whether it was read before."""
  del changed, size
  with file.open("rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()
