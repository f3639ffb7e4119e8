"""Users' pictures brought to the sizes of a checkpoint and of their scenes.

Depth that nobody gave comes from the checkpoint's own network.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from more4d_jax import (
  checkpoint_networks,
  depth_sources,
  errors,
  generation,
  inputs,
  pictures,
  scene_size,
)

Given = tuple[pictures.Picture, depth_sources.DepthMap | None]
"""A picture and its depth, if it has some."""


@dataclasses.dataclass(frozen=True)
class View:
  """What is shown of pictures; `pipeline.Pipeline` explains each field."""

  fov: float | None = None
  fit: inputs.Fit = "crop"
  size: scene_size.SceneSize = "model"


DEFAULT = View()


def prepare(
  generator: generation.Generator,
  given: Sequence[Given],
  view: View = DEFAULT,
) -> Iterator[inputs.Prepared | errors.UserError]:
  """Brings pictures to the model's size and the scene's.

  Args:
    generator: estimates depth; its network is read once for all pictures.
    given: pictures and depth.
    view: what is shown of them.

  Yields: each picture in turn; the error in place of one that cannot be used.
  """
  frames = [_frame(generator, picture, view) for picture, _ in given]
  missing = [
    _small(generator, picture, frame)
    for (picture, depth), frame in zip(given, frames)
    if depth is None and not isinstance(frame, errors.UserError)
  ]
  estimated = iter(generator.depths(missing) if missing else ())
  for (picture, depth), frame in zip(given, frames):
    if isinstance(frame, errors.UserError):
      yield frame
      continue
    try:
      known = depth or _depth_map(generator, next(estimated)[0])
      yield _prepared(generator, (picture, known), frame, view)
    except errors.UserError as error:
      yield error


def depth_map(
  generator: generation.Generator, pixels: UInt8[np.ndarray, "H W 3"]
) -> depth_sources.DepthMap:
  """Depth of one picture of any size from the checkpoint's depth network.

  Raises:
    UserError: if that network gives relative depth, or no usable one.
  """
  return _depth_map(generator, generator.depth(pixels[None])[0])


def _frame(
  generator: generation.Generator, picture: pictures.Picture, view: View
) -> tuple[int, int] | errors.UserError:
  """(H, W) of a picture's scene, or why it cannot have the wanted one."""
  shape, model = picture.pixels.shape[:2], generator.networks.size("strag")[1:]
  try:
    return scene_size.frame_size(view.size, shape, model, view.fit)
  except errors.UserError as error:
    return error


def _small(
  generator: generation.Generator,
  picture: pictures.Picture,
  frame: tuple[int, int],
) -> UInt8[np.ndarray, "1 h w 3"]:
  """A picture as the depth network sees it, for a scene of size `frame`."""
  size = depth_size(generator.networks, picture.pixels.shape[:2], frame)
  return inputs.resize(picture.pixels, size)[None]


def depth_size(
  networks: checkpoint_networks.CheckpointNetworks,
  picture: tuple[int, int],
  frame: tuple[int, int],
) -> tuple[int, int]:
  """(H, W) of a picture as the depth network sees it.

  A network that resizes pictures to a size of its own answers at any size.
  Another was trained at the model's; what it says at a larger one is worse.

  Args:
    networks: of the checkpoint.
    picture: (H, W) of it.
    frame: of its scene, see `scene_size.frame_size`.
  """
  resizes = networks.network("depth").config.input_size is not None
  wanted = frame if resizes else networks.size("strag")[1:]
  return inputs.whole_size(picture, wanted)


def _depth_map(
  generator: generation.Generator, depth: Float[np.ndarray, "H W"]
) -> depth_sources.DepthMap:
  """What the depth network gave, if it can be used."""
  name = f"what the depth network of {generator.networks.name} gave"
  found = depth_sources.from_array(depth, name=name)
  return dataclasses.replace(found, estimated=True)


def _prepared(
  generator: generation.Generator,
  given: tuple[pictures.Picture, depth_sources.DepthMap],
  frame: tuple[int, int],
  view: View,
) -> inputs.Prepared:
  """One picture with depth at the model's size, and at `frame` if finer."""
  model = generator.networks.size("strag")[1:]
  prepared = inputs.prepare(*given, model, view.fov, view.fit)
  if frame == model:
    return prepared
  finer = scene_size.prepare(*given, (model, frame), view.fov, view.fit)
  return dataclasses.replace(prepared, finer=finer)
