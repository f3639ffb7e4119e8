"""Depth of photographs: files, any Python callable, or a checkpoint's network.

Whatever it is, it is known by a text, so that worker processes find it too.
"""

import functools
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from data_pipelines import functions
from data_pipelines.photos import depth_anything
from more4d_jax import depth_sources, errors

Provider = Callable[
  [UInt8[np.ndarray, "H W 3"], pathlib.Path, pathlib.Path],
  depth_sources.DepthMap,
]
"""(picture, its path, the folder of pictures) -> depth."""

HELP = (
  "a folder of depth files named like the photographs, MODULE:FUNCTION (takes "
  "[H W 3] uint8, returns metres), a directory made by `more4d bundle`, or a "
  "metric network of Depth Anything (depth-anything/NAME on the Hugging Face "
  "hub, or a folder of its files)"
)


@functools.lru_cache(maxsize=1)
def provider(name: str | None) -> Provider:
  """Finds what gives depth.

  Args:
    name: see `HELP`.

  Raises:
    UserError: there is no such thing.
  """
  if name is None:
    raise errors.UserError(f"photographs need --depth: {HELP}")
  path = pathlib.Path(name)
  if (path / "model.json").is_file():
    return _network(path)
  if depth_anything.is_network(name):
    return _depth_anything(name)
  if path.is_dir():
    return functools.partial(_file, path)
  if ":" not in name:
    raise errors.UserError(f"no depth {name!r}; expected {HELP}")
  return _calling(functions.named(name, "depth", HELP))


def _calling(function: Callable) -> Provider:
  def call(pixels, path, folder):
    del path, folder
    return depth_sources.from_callable(function, pixels)

  return call


def _network(checkpoint: pathlib.Path) -> Provider:
  @functools.cache
  def loaded():
    from more4d_jax import pipeline

    return pipeline.load(checkpoint)

  return lambda pixels, path, folder: loaded().depth_map(pixels)


def _depth_anything(name: str) -> Provider:
  def call(pixels, path, folder):
    del path, folder
    function = depth_anything.network(name)
    return depth_sources.from_callable(function, pixels)

  return call


def _file(depths, pixels, path, folder) -> depth_sources.DepthMap:
  """The file of the same name, below the other folder."""
  del pixels
  base = depths / path.relative_to(folder)
  for suffix in depth_sources.SUFFIXES:
    file = base.with_suffix(suffix)
    if file.is_file():
      return depth_sources.from_file(file)
  raise errors.UserError(
    f"no depth of {path.name} in {depths}; expected {base.stem} with one of "
    f"{', '.join(depth_sources.SUFFIXES)}"
  )
