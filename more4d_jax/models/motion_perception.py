"""Motion Perception Module: aligned motion features modulate the tokens.

Features of the first frame from a motion encoder are brought to the token
grid and, in every block, scale and shift the tokens before self-attention and
before the feed-forward network. Source:
docs/method/motion_perception.md#madanorm.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import interpolation, layers

ALIGNMENTS = ("aligned", "compat")


def token_mask(
  frames: int, rows: int, *, reference: bool, alignment: str, length: int
) -> Float[np.ndarray, "N"]:
  """1 for the tokens that receive motion features, 0 for the others.

  Args:
    frames: latent frames of the video.
    rows: tokens per frame.
    reference: one frame of reference tokens stands before the video.
    alignment: "aligned" leaves the reference tokens out. "compat" leaves the
      last video frame out instead, as released weights were trained: there
      the features start at the reference tokens.
    length: number of tokens with padding at the end, which gets none.

  Raises:
    ValueError: for an unknown alignment.
  """
  if alignment not in ALIGNMENTS:
    raise ValueError(
      f"motion_alignment must be aligned or compat; found {alignment!r}"
    )
  first = frames * rows
  start = rows if reference and alignment == "aligned" else 0
  mask = np.zeros(length, np.float32)
  mask[start : start + first] = 1
  return mask


def _held(x: Float[Array, "B h w E"]) -> Float[Array, "B h w E"]:
  """Divides a map by samples only, and its gradient too.

  Left to itself the partitioner adds up a convolution's input gradient over
  devices that hold the same values (jax 0.10.2, meshes with a context axis).
  """
  return partitioning.constrain(x, "batch", None, None, "channels")


class MotionAligner(nn.Module):
  """Two 3x3 convolutions, then bilinear resizing to the token grid."""

  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    features: Float[Array, "B P E"],
    source: tuple[int, int],
    target: tuple[int, int],
  ) -> Float[Array, "B n E"]:
    """Returns features per token of one frame, row-major.

    Args:
      features: one row per patch of the `source` grid, row-major.
      source: rows and columns of the encoder's patch grid.
      target: rows and columns of the token grid.
    """
    batch, _, width = features.shape
    x = _held(features.reshape(batch, *source, width))
    for index in (1, 2):
      x = nn.Conv(
        width,
        (3, 3),
        dtype=jnp.dtype(self.dtype),
        kernel_init=partitioning.param(
          layers.FRAMEWORK_INIT, (None, None, "conv_in", "conv_out")
        ),
        bias_init=partitioning.param(nn.initializers.zeros, ("conv_out",)),
        name=f"conv{index}",
      )(x)
      x = _held(x)
      if index == 1:
        x = jax.nn.silu(x)
    x = interpolation.resize_axes(x, (1, 2), target)
    return x.reshape(batch, -1, width)


class MAdaNorm(nn.Module):
  """Motion-aware adaptive normalisation: u * (1 + s * gate) + b * gate.

  The gate starts at zero, so the module starts as the identity; the
  projection starts as a Xavier draw, so that the gate has a gradient.
  """

  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    tokens: Float[Array, "B N D"],
    features: Float[Array, "B n E"],
    mask: Float[Array, "N"],
  ) -> Float[Array, "B N D"]:
    """Modulates tokens by features.

    Args:
      tokens: float32, frame-major.
      features: of the n tokens of a frame, the same for every frame; n = 1
        for one global feature. They are projected once and repeated.
      mask: 1 where features apply; elsewhere tokens pass unchanged.
    """
    length, width = tokens.shape[1:]
    zeros = partitioning.param(nn.initializers.zeros, ("norm",))
    gate = self.param("gate", zeros, (width,))
    projected = layers.dense(
      2 * width, (None, "embed"), dtype=self.dtype, name="proj"
    )(jax.nn.silu(features))
    repeats = -(-length // features.shape[1])
    projected = jnp.tile(projected, (1, repeats, 1))[:, :length]
    projected = partitioning.constrain(
      projected, "batch", "tokens", "act_embed"
    )
    projected = projected.astype(jnp.float32) * mask[:, None]
    scale, shift = jnp.split(projected, 2, axis=-1)
    return tokens * (1 + scale * gate) + shift * gate
