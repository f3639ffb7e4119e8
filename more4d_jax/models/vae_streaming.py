"""Encoding and decoding chunk by chunk, with memory independent of length.

`lax.scan` carries what the blocks keep of the chunk before, and the result,
into which every chunk is written: beside input and result, memory holds one
chunk's activations.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from more4d_jax.models import motion_vae, vae_blocks, video_vae

Autoencoder = video_vae.VideoVAE | motion_vae.MotionVAE


def _step(
  module: Autoencoder, method: str, *, cut: bool
) -> Callable[[Any, Any, Array], tuple[Any, Any]]:
  """Returns (params, kept, chunk) -> (outputs, kept)."""

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def step(params: Any, kept: Any, chunk: Array) -> tuple[Any, Any]:
    if cut:
      kept = lax.stop_gradient(kept)
    outputs, changed = module.apply(
      {"params": params, vae_blocks.STREAM: kept},
      chunk,
      method=method,
      mutable=[vae_blocks.STREAM],
    )
    return outputs, changed[vae_blocks.STREAM]

  return step


def _write(whole: Array, part: Array, start: Array | int) -> Array:
  return lax.dynamic_update_slice_in_dim(whole, part, start, axis=1)


def _run(
  step: Callable[[Any, Any, Array], tuple[Any, Any]],
  params: Any,
  x: Float[Array, "B T H W C"],
  size: int,
) -> Any:
  """Applies `step` to the first frame, then to chunks of `size` frames.

  The outputs have one frame for the first frame, and several for a chunk.
  """
  outputs, kept = step(params, {}, x[:, :1])
  count = (x.shape[1] - 1) // size
  if not count:
    return outputs
  later, _ = jax.eval_shape(step, params, kept, x[:, 1 : 1 + size])

  def start(first: Array, chunk: jax.ShapeDtypeStruct) -> Array:
    batch, _, *shape = first.shape
    whole = (batch, 1 + count * chunk.shape[1], *shape)
    return _write(jnp.zeros(whole, first.dtype), first, 0)

  def body(carry: tuple[Any, Any], index: Array) -> tuple[Any, None]:
    kept, whole = carry
    chunk = lax.dynamic_slice_in_dim(x, 1 + index * size, size, axis=1)
    outputs, kept = step(params, kept, chunk)
    whole = jax.tree.map(
      lambda w, part: _write(w, part, 1 + index * part.shape[1]), whole, outputs
    )
    return (kept, whole), None

  whole = jax.tree.map(start, outputs, later)
  (_, whole), _ = lax.scan(body, (kept, whole), jnp.arange(count))
  return whole


def encode(
  module: Autoencoder, params: Any, video: Float[Array, "B T H W 3"]
) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"]]:
  """As the module's `encode`, in chunks of one frame and then of four.

  Args:
    module: the video autoencoder, or that of motion.
    params: its parameters.
    video: what `encode` takes.

  Raises:
    ValueError: if the number of frames is not 1 + 4 k (for a temporal factor
      of 4).
  """
  factor = module.config.temporal_factor
  if (video.shape[1] - 1) % factor:
    raise ValueError(
      f"video of {video.shape[1]} frames: expected 1 + a multiple of {factor}"
    )
  step = _step(module, "encode_chunk", cut=False)
  return _run(step, params, video, factor)


def decode(
  module: Autoencoder,
  params: Any,
  latents: Float[Array, "B t h w C"],
  *,
  truncate_gradient: bool = False,
) -> Float[Array, "B T H W 3"]:
  """As the module's `decode`, one latent frame at a time.

  Args:
    module: the video autoencoder, or that of motion.
    params: its parameters.
    latents: not normalised.
    truncate_gradient: let no gradient pass from a chunk to the one before, as
      the original's memory-saving training does.
  """
  step = _step(module, "decode", cut=truncate_gradient)
  return _run(step, params, latents, 1)
