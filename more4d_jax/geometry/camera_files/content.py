"""What a camera file holds, read once, whatever program wrote it."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from more4d_jax import array_files, errors, whole_files

_BINARY = (".bin",)


@dataclasses.dataclass(frozen=True)
class Content:
  """Fields of a JSON or NPZ file, or lines of a text, or neither.

  Attributes:
    name: of the file or folder.
    fields: of a JSON object or an archive of arrays.
    lines: of any other text file.
  """

  name: str
  fields: dict[str, Any] | None = None
  lines: tuple[str, ...] | None = None

  @property
  def is_archive(self) -> bool:
    """Whether the fields are arrays."""
    return self.name.lower().endswith(".npz")


def read(name: str) -> Content:
  """Reads a camera file; a folder or a binary file only by its name.

  Raises:
    UserError: if it is missing or damaged.
  """
  if os.path.isdir(name) or name.lower().endswith(_BINARY):
    return Content(name)
  if not os.path.isfile(name):
    raise errors.UserError(
      f"{name}: no such camera file; give a path name or an existing file"
    )
  if name.lower().endswith(".npz"):
    return Content(name, fields=_arrays(name))
  text = read_text(name)
  if name.lower().endswith(".json") or text.lstrip()[:1] == "{":
    return Content(name, fields=_json(text, name))
  return Content(name, lines=tuple(text.splitlines()))


def read_text(name: str) -> str:
  """A text file, whatever its line ends and with or without a mark.

  Raises:
    UserError: if it is no text.
  """
  try:
    with open(name, encoding="utf-8-sig") as stream:
      return stream.read()
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f"{name}: a camera file is JSON, text or .npz; this one is not text "
      f"({error.reason})"
    ) from error


def _json(text: str, name: str) -> dict[str, Any]:
  try:
    fields = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise errors.UserError(
      f"{name}: expected a camera file in JSON; this one is not valid JSON "
      f"({error})"
    ) from error
  if not isinstance(fields, dict):
    raise errors.UserError(
      f"{name}: expected a JSON object with world_from_camera and convention, "
      f"found a {type(fields).__name__}"
    )
  return fields


def _arrays(name: str) -> dict[str, np.ndarray]:
  try:
    return array_files.read_npz(name)
  except array_files.DAMAGE as error:
    raise errors.UserError(
      f"{name}: expected an .npz camera file of plain arrays; it is damaged "
      f"or of another kind ({error})"
    ) from error


def write(name: str | os.PathLike, data: bytes) -> None:
  """Writes a file that has its name only when it is whole."""
  with whole_files.replaced(name) as partial:
    pathlib.Path(partial).write_bytes(data)
