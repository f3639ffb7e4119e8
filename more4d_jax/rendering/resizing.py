"""Renderings with holes in another number of frames, rows and columns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8


def shrink(
  video: UInt8[np.ndarray, "T H W 3"],
  coverage: Bool[np.ndarray, "T H W"],
  shape: tuple[int, int, int],
) -> tuple[UInt8[np.ndarray, "t h w 3"], Bool[np.ndarray, "t h w"]]:
  """Covered pixels averaged; a small pixel is a hole if half of it is.

  Args:
    video: colours.
    coverage: False in holes.
    shape: frames, rows and columns; frames are the nearest ones in time.
  """
  if coverage.shape == shape:
    return video, coverage
  found = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
  every = np.rint(np.linspace(0, len(video) - 1, shape[0])).astype(int)
  for t, frame in enumerate(every):
    colour, share = _shrink(
      jnp.asarray(video[frame]), jnp.asarray(coverage[frame]), shape[1:]
    )
    found[0][t], found[1][t] = colour, share >= 0.5
  return found


def enlarge(
  video: UInt8[np.ndarray, "t h w 3"], shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "T H W 3"]:
  """A video blended in time and space to more frames, rows and columns."""
  found = np.zeros((*shape, 3), np.uint8)
  for t, place in enumerate(np.linspace(0, len(video) - 1, shape[0])):
    before = int(place)
    after = min(before + 1, len(video) - 1)
    share = np.float32(place - before)
    blend = (1 - share) * video[before] + share * video[after]
    found[t] = _enlarge(jnp.asarray(blend), shape[1:])
  return found


@functools.partial(jax.jit, static_argnames="size")
def _shrink(
  colours: UInt8[Array, "H W 3"],
  covered: Bool[Array, "H W"],
  size: tuple[int, int],
) -> tuple[UInt8[Array, "h w 3"], Float[Array, "h w"]]:
  weight = covered.astype(jnp.float32)
  summed = jnp.concatenate(
    [colours * weight[..., None], weight[..., None]], axis=-1
  )
  mean = jax.image.resize(summed, (*size, 4), "linear", antialias=True)
  share = mean[..., 3]
  colour = mean[..., :3] / jnp.maximum(share, 1e-6)[..., None]
  return jnp.rint(jnp.clip(colour, 0, 255)).astype(jnp.uint8), share


@functools.partial(jax.jit, static_argnames="size")
def _enlarge(
  colours: Float[Array, "h w 3"], size: tuple[int, int]
) -> UInt8[Array, "H W 3"]:
  found = jax.image.resize(colours, (*size, 3), "cubic", antialias=False)
  return jnp.rint(jnp.clip(found, 0, 255)).astype(jnp.uint8)
