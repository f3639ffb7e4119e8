"""Layers shared by the networks: norms, rotations, embeddings, resizing.

Parameters, norms, modulation and angles are float32; matrix products run in
the `dtype` a module is given.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import lora, quantised, remat

# What PyTorch gives convolutions by default: U(-1, 1) / sqrt(fan in).
FRAMEWORK_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
XAVIER_INIT = nn.initializers.xavier_uniform()
Axes = tuple[str | None, ...]


class Dense(nn.Module):
  """A linear map, and beside it the low-rank one that `models.lora` gives.

  Its kernel may be that of `models.quantised`.

  Attributes:
    features: size of the output.
    axes: logical axes of input and output.
    dtype: of the products.
    kernel_init: of the matrix.
    use_bias: whether there is a bias; it starts at zero.
  """

  features: int
  axes: Axes
  dtype: str
  kernel_init: Callable = XAVIER_INIT
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B E"]:
    """Returns the product; with a collection "lora" the sum of both."""
    dtype = jnp.dtype(self.dtype)
    x = x.astype(dtype)
    init = partitioning.param(self.kernel_init, self.axes)
    kernel = self.param("kernel", init, (x.shape[-1], self.features))
    out = x @ kernel.astype(dtype)
    if kernel.dtype == quantised.DTYPE:
      scale = self.get_variable("params", quantised.SCALE)
      out = (out * scale).astype(dtype)
    if self.use_bias:
      zeros = partitioning.param(nn.initializers.zeros, self.axes[1:])
      out = out + self.param("bias", zeros, (self.features,)).astype(dtype)
    if self.has_variable(lora.COLLECTION, "down"):
      down, up = (self.get_variable(lora.COLLECTION, n) for n in ("down", "up"))
      out = out + (x @ down.astype(dtype)) @ up.astype(dtype)
    return out


def dense(
  features: int,
  axes: Axes,
  *,
  dtype: str,
  kernel_init: Callable = XAVIER_INIT,
  use_bias: bool = True,
  name: str | None = None,
) -> Dense:
  """A linear map with float32 parameters and logical axes (input, output)."""
  return Dense(features, axes, dtype, kernel_init, use_bias, name=name)


def normal(stddev: float) -> Callable:
  """Initialiser N(0, stddev^2)."""
  return nn.initializers.normal(stddev)


def stacked(
  block: type[nn.Module], length: int, policy: str = "none"
) -> type[nn.Module]:
  """Returns a module that runs `length` blocks one after the other.

  They are scanned: compiled once, their parameters stacked along a first axis
  named "layers". Parameters that lie in the host's memory are brought to the
  device a layer at a time.

  Args:
    block: its call takes what the one before gave, then what all are given
      alike, and returns a pair: what the next takes, and what is stacked.
    length: number of blocks.
    policy: what of a block's insides the backward pass finds, see `remat`.
  """
  collections = ["params", lora.COLLECTION]
  block = nn.map_variables(block, collections, _on_device, init=True)
  return nn.scan(
    remat.wrapped(block, policy, scanned=True),
    variable_axes={"params": 0, lora.COLLECTION: 0},
    split_rngs={"params": True},
    in_axes=nn.broadcast,
    length=length,
    metadata_params={nn.PARTITION_NAME: "layers"},
  )


def _on_device(variables: Any) -> Any:
  """Variables of one layer in the device's memory, wherever they were."""
  host = jax.memory.Space.Host

  def one(x: Array) -> Array:
    if jax.typeof(x).memory_space != host:
      return x
    return jax.device_put(x, jax.memory.Space.Device)

  return jax.tree.map(one, variables)


class LayerNorm(nn.Module):
  """Layer normalisation over the last axis in float32, affine or not."""

  eps: float = 1e-6
  affine: bool = True

  @nn.compact
  def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Returns normalised values in float32."""
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    x = centred * jax.lax.rsqrt(variance + self.eps)
    if not self.affine:
      return x
    size = x.shape[-1:]
    ones = partitioning.param(nn.initializers.ones, ("norm",))
    zeros = partitioning.param(nn.initializers.zeros, ("norm",))
    scale = self.param("scale", ones, size)
    return x * scale + self.param("bias", zeros, size)


class RMSNorm(nn.Module):
  """Root-mean-square normalisation over the whole last axis in float32."""

  eps: float = 1e-6

  @nn.compact
  def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Returns normalised values in float32."""
    x = x.astype(jnp.float32)
    square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    ones = partitioning.param(nn.initializers.ones, ("norm",))
    scale = self.param("scale", ones, x.shape[-1:])
    return scale * (x * jax.lax.rsqrt(square + self.eps))


class MLP(nn.Module):
  """Two linear maps with an activation between them."""

  hidden: int
  features: int
  activation: Callable
  dtype: str = "float32"
  kernel_init: Callable = XAVIER_INIT
  in_axis: str | None = "embed"

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N E"]:
    """Applies both maps to every row."""
    options = {"dtype": self.dtype, "kernel_init": self.kernel_init}
    x = dense(self.hidden, (self.in_axis, "mlp"), name="fc1", **options)(x)
    x = partitioning.constrain(x, "batch", "tokens", "act_mlp")
    x = self.activation(x)
    return dense(self.features, ("mlp", "embed"), name="fc2", **options)(x)


# --- rotary positions -------------------------------------------------------


def axis_frequencies(
  head_dim: int, riflex: tuple[int, int, float] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Rotation frequencies of the frame, row and column axes, in float64.

  Of the head_dim/2 pairs, rows and columns get a third each (rounded down) and
  frames the rest.

  Args:
    head_dim: size of one head, even.
    riflex: (k, latent frames, scale): replaces the k-th frame frequency so
      that it turns 0.9 times over that many frames and scale (length
      extrapolation).
  Source: docs/method/transformer.md#rotary-position-embedding.
  """
  side = 2 * (head_dim // 6)
  frames = head_dim - 2 * side
  time = 10000.0 ** (-np.arange(0, frames, 2, dtype=np.float64) / frames)
  space = 10000.0 ** (-np.arange(0, side, 2, dtype=np.float64) / side)
  if riflex is not None:
    k, length, scale = riflex
    time[k - 1] = 0.9 * 2 * np.pi / length / scale
  return time, space, space


@functools.cache
def rotary_angles(
  grid: tuple[int, int, int],
  head_dim: int,
  riflex: tuple[int, int, float] | None = None,
) -> np.ndarray:
  """Cosines, then sines, of a (frames, rows, columns) grid's tokens [N D].

  Each has one column per pair of a head's values. Angles are formed in float64
  and the results rounded to float32. Tokens are ordered frame, row, column
  with the column fastest.
  """
  places = np.meshgrid(*(np.arange(n) for n in grid), indexing="ij")
  angles = np.concatenate(
    [
      place.reshape(-1, 1) * frequencies
      for place, frequencies in zip(places, axis_frequencies(head_dim, riflex))
    ],
    axis=-1,
  )
  both = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
  return both.astype(np.float32)


# --- timestep ---------------------------------------------------------------


def _short_parts(x: np.ndarray, count: int) -> list[np.ndarray]:
  """Splits float64 values into float32 parts of at most 12 significant bits."""
  parts = []
  for _ in range(count):
    mantissa, exponent = np.frexp(x)
    part = np.ldexp(np.round(mantissa * 4096) / 4096, exponent)
    parts.append(part.astype(np.float32))
    x = x - part
  return parts


def timestep_embedding(
  timestep: Float[Array, "*B"], width: int
) -> Float[Array, "*B D"]:
  """Cosines, then sines, of timestep * 10000^(-i / (width/2)).

  A float32 product of a timestep near 1000 with a frequency is wrong by up to
  3e-5. Here the angle is formed in whole and fractional turns: both factors
  are cut into pieces of 12 bits, whose products are exact, and whole turns are
  dropped from each product before they are added.

  Args:
    timestep: at most 1024 in magnitude for full accuracy.
    width: even number of values per timestep.
  Source: docs/method/transformer.md#time-embedding.
  """
  half = width // 2
  turns = 10000.0 ** (-np.arange(half, dtype=np.float64) / half) / (2 * np.pi)
  timestep = timestep.astype(jnp.float32)[..., None]
  coarse = jnp.round(timestep * 4) / 4
  fraction = (timestep - coarse) * turns.astype(np.float32)
  for part in _short_parts(turns, 3):
    product = coarse * part
    fraction = fraction + (product - jnp.round(product))
  angle = 2 * np.pi * (fraction - jnp.round(fraction))
  return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


# --- patches ----------------------------------------------------------------


class PatchEmbed(nn.Module):
  """Linear map of non-overlapping patches to tokens, frame, row, column order.

  The kernel is kept as [pt, ph, pw, C, D], so that widening the input is a
  concatenation over one axis.
  """

  patch: tuple[int, int, int]
  features: int
  dtype: str = "float32"
  kernel_init: Callable = nn.initializers.variance_scaling(
    1.0, "fan_avg", "uniform", in_axis=(0, 1, 2, 3), out_axis=4
  )
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B N D"]:
    """Returns one token per patch; sizes are multiples of the patch."""
    dtype = jnp.dtype(self.dtype)
    axes = (None, None, None, "conv_in", "conv_out")
    kernel = self.param(
      "kernel",
      partitioning.param(self.kernel_init, axes),
      (*self.patch, x.shape[-1], self.features),
    )
    batch = x.shape[0]
    (t, h, w), (pt, ph, pw) = x.shape[1:4], self.patch
    x = x.reshape(batch, t // pt, pt, h // ph, ph, w // pw, pw, -1)
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)  # [B t h w pt ph pw C]
    x = x.reshape(batch, (t // pt) * (h // ph) * (w // pw), -1)
    x = x.astype(dtype) @ kernel.reshape(-1, self.features).astype(dtype)
    if not self.use_bias:
      return x
    zeros = partitioning.param(nn.initializers.zeros, ("conv_out",))
    return x + self.param("bias", zeros, (self.features,)).astype(dtype)


def space_to_depth(
  x: Float[Array, "B H W C"], side: int
) -> Float[Array, "B h w D"]:
  """Makes one place of `side` by `side`; the channels of all are kept."""
  batch, height, width, channels = x.shape
  h, w = height // side, width // side
  x = x.reshape(batch, h, side, w, side, channels)
  return jnp.moveaxis(x, 2, 3).reshape(batch, h, w, side * side * channels)


def unpatchify(
  tokens: Float[Array, "B N V"],
  grid: tuple[int, int, int],
  patch: tuple[int, int, int],
) -> Float[Array, "B T H W C"]:
  """Lays tokens out as a video; token values are (pt, ph, pw, channel)."""
  batch = tokens.shape[0]
  x = tokens.reshape(batch, *grid, *patch, -1)
  x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7)  # [B t pt h ph w pw C]
  size = [n * p for n, p in zip(grid, patch)]
  return x.reshape(batch, *size, -1)
