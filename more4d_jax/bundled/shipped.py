"""The checkpoint that ships with the package, taken where none is named.

`more4d bundle --dtype --figures` writes it; docs/bundled.md tells how, and what
it is good for.
"""

import os
import pathlib

from more4d_jax import errors, locations
from more4d_jax.checkpoints import store

DIRECTORY = pathlib.Path(__file__).parent / "checkpoint"
NAME = "the bundled model"
LIMIT = 25 << 20  # Bytes that it may have.
_FIGURE = ("motion64v3", "relative")


def exists() -> bool:
  """Whether a checkpoint ships with this copy of the package."""
  return (DIRECTORY / store.MODEL).is_file()


def find(checkpoint: str | os.PathLike[str] | None) -> pathlib.Path:
  """The checkpoint that is meant: the one named, or the one that ships.

  Raises:
    UserError: if none is named and none ships.
  """
  if checkpoint is not None:
    return locations.here(checkpoint, "the checkpoint")
  if not exists():
    raise errors.UserError(
      "expected a checkpoint, found none: this copy of more4d_jax ships "
      "without one; name a directory made by `more4d bundle`, or train one "
      "with `more4d train-all --recipe demo --out runs/demo`"
    )
  return DIRECTORY


def name(checkpoint: str | os.PathLike[str] | None) -> str:
  """How messages and the metadata of scenes call a checkpoint."""
  return NAME if checkpoint is None else pathlib.Path(checkpoint).name


def describe() -> str:
  """One line: what ships, and what it is good for.

  Raises:
    UserError: as `find`.
  """
  metadata = store.load_header(find(None) / "strag")["metadata"]
  frames, height, width = (metadata[n] for n in ("frames", "height", "width"))
  line = (
    f"no --checkpoint: {NAME}, size {metadata['size']} ({frames} frames of "
    f"{height} x {width}), for trying out simple motions"
  )
  group, figure = _FIGURE
  figures = store.about(DIRECTORY).get("figures", {})
  if figure in figures.get(group, {}):
    value = figures[group][figure]
    line += f"; its error is {value:.2f} times that of a still scene"
  return f"{line} (docs/bundled.md)"
