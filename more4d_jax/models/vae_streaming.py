"""Encoding and decoding chunk by chunk, with memory independent of length."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.models import vae_blocks, video_vae


def _step(vae: video_vae.VideoVAE, method: str, cut: bool):
  """Returns (params, kept, chunk) -> (outputs, kept)."""

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def step(params: Any, kept: Any, chunk: Array) -> tuple[Any, Any]:
    if cut:
      kept = jax.lax.stop_gradient(kept)
    outputs, changed = vae.apply(
      {"params": params, vae_blocks.STREAM: kept},
      chunk,
      method=method,
      mutable=[vae_blocks.STREAM],
    )
    return outputs, changed[vae_blocks.STREAM]

  return step


def _run(step: Any, params: Any, first: Array, rest: Array) -> Any:
  """Applies `step` to the first chunk, then scans over [n B c H W C]."""
  outputs, kept = step(params, {}, first)
  if not rest.shape[0]:
    return outputs

  def body(kept: Any, chunk: Array) -> tuple[Any, Any]:
    outputs, kept = step(params, kept, chunk)
    return kept, outputs

  _, scanned = jax.lax.scan(body, kept, rest)

  def join(start: Array, later: Array) -> Array:
    later = jnp.moveaxis(later, 0, 1)  # [B n c h w C]
    later = later.reshape(later.shape[0], -1, *later.shape[3:])
    return jnp.concatenate([start, later], axis=1)

  return jax.tree.map(join, outputs, scanned)


def _chunks(x: Float[Array, "B T H W C"], frames: int) -> Array:
  """Splits all but the first frame into [n B frames H W C]."""
  count = (x.shape[1] - 1) // frames
  rest = x[:, 1:].reshape(x.shape[0], count, frames, *x.shape[2:])
  return jnp.moveaxis(rest, 1, 0)


def encode(
  vae: video_vae.VideoVAE, params: Any, video: Float[Array, "B T H W 3"]
) -> tuple[Float[Array, "B t h w C"], Float[Array, "B t h w C"]]:
  """As `VideoVAE.encode`, in chunks of one frame and then of four.

  Raises:
    ValueError: if the number of frames is not 1 + 4 k (for a temporal factor
      of 4).
  """
  factor = vae.config.temporal_factor
  if (video.shape[1] - 1) % factor:
    raise ValueError(
      f"video of {video.shape[1]} frames: expected 1 + a multiple of {factor}"
    )
  step = _step(vae, "encode_chunk", cut=False)
  return _run(step, params, video[:, :1], _chunks(video, factor))


def decode(
  vae: video_vae.VideoVAE,
  params: Any,
  latents: Float[Array, "B t h w C"],
  *,
  truncate_gradient: bool = False,
) -> Float[Array, "B T H W 3"]:
  """As `VideoVAE.decode`, one latent frame at a time.

  Args:
    vae: the module.
    params: its parameters.
    latents: not normalised.
    truncate_gradient: let no gradient pass from a chunk to the one before, as
      the original's memory-saving training does.
  """
  step = _step(vae, "decode", cut=truncate_gradient)
  return _run(step, params, latents[:, :1], _chunks(latents, 1))
