"""The formats of camera files: what a file is, reading and writing it.

A path of another program starts at its first camera, which is that of the
scene; a path of ours is in the scene's world as it stands.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping

from more4d_jax import errors
from more4d_jax.geometry.camera_files import (
  colmap,
  content,
  lyra,
  nerfstudio,
  path,
  plain,
  realestate,
)

Write = Callable[[str | os.PathLike, path.CameraPath], None]


@dataclasses.dataclass(frozen=True)
class Format:
  """A format.

  Attributes:
    suffix: of its files; empty for folders.
    matches: whether a file that was opened is one.
    read: makes a path of one.
    write: makes one of a path.
  """

  suffix: str
  matches: Callable[[content.Content], bool]
  read: Callable[[content.Content], path.CameraPath]
  write: Write


# In the order in which a file is tried; ours takes any fields, so it is last.
FORMATS: Mapping[str, Format] = {
  "nerfstudio": Format(
    ".json", nerfstudio.matches, nerfstudio.read, nerfstudio.write
  ),
  "lyra": Format(".npz", lyra.matches, lyra.read, lyra.write),
  "realestate10k": Format(
    ".txt", realestate.matches, realestate.read, realestate.write
  ),
  "colmap": Format("", colmap.matches, colmap.read, colmap.write_binary),
  "colmap-text": Format("", colmap.matches, colmap.read, colmap.write_text),
  "json": Format(".json", plain.matches, plain.read, plain.write),
  "npz": Format(".npz", plain.matches, plain.read, plain.write),
}


def load(file: str | os.PathLike) -> path.CameraPath:
  """Reads a camera file or folder of any format.

  Raises:
    UserError: if it is missing, damaged, of no known format, or holds numbers
      that are no camera path.
  """
  found = content.read(os.fspath(file))
  for kind in FORMATS.values():
    if kind.matches(found):
      return kind.read(found)
  raise errors.UserError(
    f"{found.name}: expected a camera file: ours (.json or .npz with "
    "world_from_camera), a COLMAP model, transforms.json of nerfstudio, a text "
    "of RealEstate10K, or .npz of Lyra; found none of these"
  )


def save(
  file: str | os.PathLike, found: path.CameraPath, kind: str = "json"
) -> None:
  """Writes a camera file of a format of `FORMATS`.

  Raises:
    UserError: for an unknown format, another ending than the format's, or a
      path without the intrinsics that it needs.
  """
  if kind not in FORMATS:
    raise errors.UserError(
      f"expected a camera format of {', '.join(FORMATS)}, found {kind!r}"
    )
  suffix = FORMATS[kind].suffix
  if not os.fspath(file).lower().endswith(suffix):
    raise errors.UserError(
      f"{os.fspath(file)}: expected a name ending in {suffix} for the format "
      f"{kind}"
    )
  FORMATS[kind].write(file, found)
