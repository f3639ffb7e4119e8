"""A convolutional trunk for depth networks that learn from few pictures."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import causal_conv, layers


class ConvolutionalTrunk(nn.Module):
  """Residual convolutions at four sizes, each half of the one before.

  Edges, texture and shading are found by the first layers rather than learned
  from nothing, and the place in the picture is given beside the colours: of a
  few thousand pictures it learns more than a transformer does. Channels at
  each place also see the mean over the picture.

  Attributes:
    channels: of the four maps, the finest first.
    blocks: residual blocks at each size.
    patch: pixels on a side of the third map's places; the first map has a
      quarter of that. A multiple of 4.
    dtype: of the computation; parameters and norms are float32.
    form: of the convolutions, see `causal_conv`.
  """

  channels: tuple[int, ...]
  blocks: int
  patch: int
  dtype: jnp.dtype
  form: str = "auto"

  @nn.compact
  def __call__(
    self, image: Float[Array, "B H W 3"]
  ) -> list[Float[Array, "B _ _ _"]]:
    """Returns four maps at 4, 2, 1 and 1/2 times the grid of patches.

    Args:
      image: with normalised colours; sides are multiples of twice the patch.
    """
    project = functools.partial(
      causal_conv.FrameConv, kernel_size=(1, 1), dtype=self.dtype
    )
    x = jnp.concatenate([image, _places(image)], axis=-1)
    maps = []
    for size, channels in enumerate(self.channels):
      x = layers.space_to_depth(x, 2 if size else self.patch // 4)
      x = project(channels, name=f"project_{size}")(x)
      for block in range(self.blocks):
        x = _Block(self.dtype, self.form, name=f"block_{size}_{block}")(x)
      maps.append(x)
    return maps


class _Block(nn.Module):
  """Two convolutions beside the identity, with the picture's mean between."""

  dtype: jnp.dtype
  form: str

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B h w C"]:
    channels = x.shape[-1]
    conv = functools.partial(
      causal_conv.FrameConv, channels, dtype=self.dtype, form=self.form
    )
    norm = nn.LayerNorm(
      epsilon=1e-6,
      dtype=jnp.float32,
      scale_init=partitioning.param(nn.initializers.ones, ("norm",)),
      bias_init=partitioning.param(nn.initializers.zeros, ("norm",)),
      name="norm",
    )
    h = conv(name="conv_1")(norm(x))
    mean = h.mean(axis=(1, 2), keepdims=True)
    h = h + conv(kernel_size=(1, 1), name="mean")(mean)
    return x + conv(name="conv_2")(nn.gelu(h))


def _places(image: Float[Array, "B H W 3"]) -> Float[Array, "B H W 2"]:
  """Row and column of every pixel, from -1 to 1 between the borders."""
  batch, height, width, _ = image.shape
  rows = (2 * jnp.arange(height) + 1.0) / height - 1
  columns = (2 * jnp.arange(width) + 1.0) / width - 1
  grid = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)
  return jnp.broadcast_to(grid.astype(image.dtype), (batch, height, width, 2))
