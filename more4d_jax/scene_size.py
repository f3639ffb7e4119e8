"""A scene on a finer grid than the model's: its size, depth, and points."""

import dataclasses
import re
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from more4d_jax import depth_sources, errors, inputs, pictures
from more4d_jax.geometry import cameras, upsampling, visibility

MOST_ROWS = 720  # Of a scene in the picture's size.
_LIMIT = 2160 * 3840  # Pixels; a scene of nine frames is 0.9 GB then.
_CHUNK = 8  # Frames that are on the device at once.

# (H, W) of the scene, or what it takes its size from.
SceneSize = tuple[int, int] | Literal["model", "picture"]


def parse(text: str) -> SceneSize:
  """Reads HxW, "model" or "picture".

  Raises:
    UserError: for anything else.
  """
  if text in ("model", "picture"):
    return text
  found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
  if not found:
    raise errors.UserError(
      f"expected --scene-size of HxW (rows by columns, for example 480x640), "
      f"model or picture, found {text!r}"
    )
  return int(found[1]), int(found[2])


def frame_size(
  wanted: SceneSize,
  picture: tuple[int, int],
  model: tuple[int, int],
  fit: inputs.Fit,
) -> tuple[int, int]:
  """(H, W) of the grid that the model's frame becomes.

  Args:
    wanted: size of what the frame shows of the picture. "picture" keeps the
      picture's pixels, but at most 720 rows.
    picture: (H, W).
    model: (H, W).
    fit: how the frame lies over the picture.

  Raises:
    UserError: the wanted size has another aspect, is smaller than the model's
      or too large.
  """
  pixels, window = inputs.shown(picture, model, fit)
  if wanted == "model":
    return model
  if wanted == "picture":
    rows = max(min(round(pixels[0]), MOST_ROWS), window.size[0])
    wanted = (rows, max(round(rows * pixels[1] / pixels[0]), window.size[1]))
  elif abs(wanted[1] * pixels[0] / (wanted[0] * pixels[1]) - 1) > 0.02:
    rows = wanted[0]
    raise errors.UserError(
      f"expected --scene-size of the aspect {window.size[0]}x"
      f"{window.size[1]} that the model sees, found {wanted[0]}x{wanted[1]}: "
      f"give {rows}x{round(rows * pixels[1] / pixels[0])}, model or picture"
    )
  fits = all(w >= s for w, s in zip(wanted, window.size))
  if not fits or wanted[0] * wanted[1] > _LIMIT:
    raise errors.UserError(
      f"expected --scene-size of at least {window.size[0]}x{window.size[1]} "
      f"as the model has, and at most {_LIMIT} pixels, found {wanted[0]}x"
      f"{wanted[1]}"
    )
  return tuple(round(w * m / s) for w, m, s in zip(wanted, model, window.size))


def prepare(
  picture: pictures.Picture,
  depth: depth_sources.DepthMap,
  sizes: tuple[tuple[int, int], tuple[int, int]],
  fov: float | None,
  fit: inputs.Fit,
) -> inputs.Prepared:
  """A picture and its depth on the scene's grid.

  Depth is taken at its own resolution. Where that is lower than the scene's,
  the picture guides it, see `upsampling.upsample_depth`.

  Args:
    picture: any size.
    depth: of the whole picture.
    sizes: (H, W) of the model, and of the scene's grid.
    fov: as `inputs.prepare` takes it.
    fit: as `inputs.prepare` takes it.
  """
  model, size = sizes
  finer = inputs.prepare_finer(picture, depth, sizes, fov, fit)
  rows, columns = (
    d / p for d, p in zip(depth.depth.shape, picture.pixels.shape)
  )
  pixels, window = inputs.shown(picture.pixels.shape[:2], model, fit)
  own = (
    max(round(pixels[0] * rows * model[0] / window.size[0]), model[0]),
    max(round(pixels[1] * columns * model[1] / window.size[1]), model[1]),
  )
  if own[0] >= size[0] or own[1] >= size[1]:
    return finer
  coarse = inputs.prepare_finer(picture, depth, (model, own), fov, fit)
  guided = _upsample_depth(
    jnp.asarray(coarse.depth), jnp.asarray(finer.image, jnp.float32) / 255
  )
  return dataclasses.replace(finer, depth=np.asarray(guided))


def on_grid(
  tracks: Float[np.ndarray, "T h w 3"], grid: inputs.Prepared
) -> tuple[Float[np.ndarray, "T H W 3"], Bool[np.ndarray, "T H W"]]:
  """Tracks of a scene's grid, and which points the first camera sees.

  Only a few frames are on the device at once.

  Args:
    tracks: of the model's frame, metres, in the first camera's frame.
    grid: picture and depth of the scene's grid, or the model's own; what is
      beside its window is cut off.
  """
  window = grid.window.slices
  shape = (len(tracks), *grid.window.size)
  found, seen = np.empty((*shape, 3), np.float32), np.empty(shape, bool)
  camera = jnp.asarray(grid.window.intrinsics(grid.intrinsics))
  move = _mover(tracks[0], grid)
  for start in range(1, max(len(tracks), 2), _CHUNK):
    part = np.r_[0, start : min(start + _CHUNK, len(tracks))]
    moved = move(jnp.asarray(tracks[part]))[:, *window]
    found[part], seen[part] = moved, _visible(moved, camera)
  return found, seen


def _mover(
  first: Float[np.ndarray, "h w 3"], grid: inputs.Prepared
) -> Callable[[Float[Array, "t h w 3"]], Float[Array, "t H W 3"]]:
  """What brings tracks to a grid."""
  if first.shape[:2] == grid.depth.shape:
    return lambda tracks: tracks
  guide = _guide(
    jnp.asarray(first[..., 2]),
    jnp.asarray(grid.depth),
    jnp.asarray(grid.image, jnp.float32) / 255,
    jnp.asarray(grid.intrinsics),
  )
  return lambda tracks: _upsample_tracks(tracks, *guide)


_upsample_depth = jax.jit(upsampling.upsample_depth)
_upsample_tracks = jax.jit(upsampling.upsample_tracks)
_visible = jax.jit(visibility.visible_points)


@jax.jit
def _guide(
  coarse: Float[Array, "h w"],
  depth: Float[Array, "H W"],
  colours: Float[Array, "H W 3"],
  intrinsics: Float[Array, "4"],
) -> tuple[Float[Array, "H W 3"], upsampling.Stencil]:
  first = cameras.unproject(depth[None], intrinsics[None])[0]
  return first, upsampling.motion_stencil(coarse, depth, colours)
