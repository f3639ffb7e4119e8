"""Renderings of a scene in the frame of the network that completes them.

A network has one size; a scene has any. A rendering is shrunk for the network,
and what it draws fills the holes of the rendering. They meet in a soft seam.
Of a scene of the network's own size it draws all pixels, unless its sampler
keeps what is rendered.
"""

import numpy as np
from jaxtyping import Bool, UInt8

from more4d_jax import errors, inputs
from more4d_jax.rendering import fill, resizing

Film = tuple[UInt8[np.ndarray, "T H W 3"], Bool[np.ndarray, "T H W"]]
"""A rendering and its coverage."""


def to_frame(
  picture: UInt8[np.ndarray, "_ _ 3"],
  rendering: UInt8[np.ndarray, "T H W 3"],
  coverage: Bool[np.ndarray, "T H W"],
  size: tuple[int, int, int],
  *,
  filled: bool = False,
) -> tuple[
  UInt8[np.ndarray, "t h w 3"],
  Bool[np.ndarray, "t h w"],
  UInt8[np.ndarray, "h w 3"],
]:
  """A rendering, its coverage and its scene's picture for a network.

  One of another aspect, as of a letterboxed picture, lies in the middle of the
  frame; what is beside it is a hole.

  Args:
    picture: of the scene that was rendered.
    rendering: colours.
    coverage: False in holes.
    size: frames, rows and columns of the network.
    filled: the holes' colours are kept.

  Raises:
    UserError: if the rendering has another size than the picture.
  """
  whole = picture.shape[:2]
  if coverage.shape[1:] != whole:
    raise errors.UserError(
      f"expected a rendering of the scene's {whole} rows and columns, "
      f"found {coverage.shape[1:]}: render at the scene's size"
    )
  window = inputs.Window.fitted(whole, size[1:])
  beside = window.beside(size[1:])
  shape = (size[0], *window.size)
  small, covered = resizing.shrink(rendering, coverage, shape)
  if filled:
    small, _ = resizing.shrink(rendering, np.ones_like(coverage), shape)
  if whole != window.size:
    picture = inputs.resize(picture, window.size)
  return (
    np.pad(small, ((0, 0), *beside, (0, 0)), mode="edge"),
    np.pad(covered, ((0, 0), *beside)),
    np.pad(picture, (*beside, (0, 0)), mode="edge"),
  )


def kept_share(
  coverage: Bool[np.ndarray, "T H W"],
  size: tuple[int, int, int],
  *,
  keep_rendered: bool,
) -> float:
  """Share of a completed film's pixels that are the renderer's.

  Args:
    coverage: of the rendering.
    size: frames, rows and columns of the network.
    keep_rendered: the network's sampler keeps what the renderer drew.
  """
  whole = coverage.shape == size and not keep_rendered
  return 0.0 if whole else float(coverage.mean())


def from_frame(
  completed: UInt8[np.ndarray, "t h w 3"],
  rendering: UInt8[np.ndarray, "T H W 3"],
  coverage: Bool[np.ndarray, "T H W"],
) -> UInt8[np.ndarray, "T H W 3"]:
  """The rendering, completed by what the network drew of it.

  Args:
    completed: the network's whole frame.
    rendering: as `to_frame` took it.
    coverage: as `to_frame` took it.
  """
  size = completed.shape[1:3]
  window = inputs.Window.fitted(coverage.shape[1:], size)
  completed = completed[:, *window.slices]
  if completed.shape == rendering.shape:
    return completed
  filling = resizing.enlarge(completed, coverage.shape)
  return composed(rendering, filling, coverage)


def composed(
  rendering: UInt8[np.ndarray, "T H W 3"],
  filling: UInt8[np.ndarray, "T H W 3"],
  coverage: Bool[np.ndarray, "T H W"],
) -> UInt8[np.ndarray, "T H W 3"]:
  """A rendering whose holes are filled, with a soft seam on its side.

  Args:
    rendering: colours; those outside of `coverage` do not matter.
    filling: colours everywhere.
    coverage: True where a point was drawn.
  """
  frames = [
    fill.compose(*(v.astype(np.float32) for v in (one, other)), covered)
    for one, other, covered in zip(rendering, filling, coverage, strict=True)
  ]
  return np.stack([np.rint(frame) for frame in frames]).astype(np.uint8)
