"""Flags of `more4d evaluate` that say what is measured of the whole chain."""

import dataclasses
import pathlib
from collections.abc import Sequence

from more4d_jax import errors
from more4d_jax.checkpoints import weight_files
from more4d_jax.cli import lists
from more4d_jax.evaluation import lpips as lpips_lib


@dataclasses.dataclass(frozen=True)
class ChainFlags:
  """What is measured besides the tracks, on scenes like photographs.

  Attributes:
    samples: of each scene; from 2 on the best of them, and how they differ.
    depth_noise: levels of errors of depth to draw tracks with, such as
      0.5,1,2; 0 is true depth, 1 that of an estimate.
    cameras: true cameras whose films are compared with the user's, 3 in the
      table of the guide; 0 for none.
    lpips: files of weights for LPIPS, .pth or .safetensors, torchvision's
      AlexNet or VGG16 and the linear layers of version 0.1; without them it is
      not measured.
  """

  samples: int = 1
  depth_noise: lists.Words = ()
  cameras: int = 0
  lpips: lists.Words = ()


DEFAULT = ChainFlags()


def check(flags: ChainFlags) -> None:
  """Raises UserError unless numbers make sense."""
  if flags.samples < 1 or flags.cameras < 0:
    raise errors.UserError(
      "expected --samples of at least 1 and --cameras of at least 0, found "
      f"{flags.samples} and {flags.cameras}"
    )
  levels(flags)


def is_default(flags: ChainFlags) -> bool:
  """Whether nothing is asked for that only the whole chain has."""
  return dataclasses.replace(flags, lpips=()) == DEFAULT


def levels(flags: ChainFlags) -> list[float]:
  """The levels of --depth-noise.

  Raises:
    UserError: if one is no number from 0 on.
  """
  words = lists.items(flags.depth_noise, _is_level, "--depth-noise")
  wrong = [word for word in words if not _is_level(word)]
  if wrong:
    raise errors.UserError(
      f"expected --depth-noise of numbers from 0 on, found {wrong[0]!r}: write "
      "them as 0.5,1,2"
    )
  return [float(word) for word in words]


def _is_level(word: str) -> bool:
  try:
    return 0 <= float(word) < float("inf")
  except ValueError:
    return False


def lpips_files(flags: ChainFlags) -> Sequence[pathlib.Path]:
  """The files of --lpips."""
  found = lists.items(
    flags.lpips, lambda word: pathlib.Path(word).is_file(), "--lpips"
  )
  return [pathlib.Path(name) for name in found]


def read_lpips(files: Sequence[pathlib.Path]) -> lpips_lib.Lpips | None:
  """The weights of LPIPS; None without files.

  Raises:
    UserError: if a file is absent or damaged, or weights are missing.
  """
  if not files:
    return None
  tensors = {}
  for file in (found for name in files for found in weight_files.find(name)):
    for name, tensor in weight_files.open_file(file).tensors.items():
      if lpips_lib.is_wanted(name):
        tensors[name] = tensor.read()
  return lpips_lib.Lpips.from_tensors(tensors)
