"""Blocks of the causal video autoencoder, for whole clips and for chunks.

Applied with the collection "stream" mutable, every block that looks back
keeps its last input frames there and starts from those of the chunk before.
The first chunk finds nothing kept, and is computed as a whole clip is.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import causal_conv

STREAM = "stream"


def constrain(x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
  """Names the axes of a video activation.

  The side with more factors of two is that which a mesh divides, so that it is
  the same one at every level.
  """
  height, width = x.shape[2:4]
  wide = width & -width >= height & -height
  sides = ("height", "side") if wide else ("side", "width")
  return partitioning.constrain(x, "batch", "frames", *sides, "channels")


def _exchange(
  module: nn.Module, name: str, x: Float[Array, "B T H W C"], frames: int
) -> Float[Array, "B c H W C"] | None:
  """Returns the frames kept from the chunk before, and keeps x's last ones.

  None where nothing is kept: for a whole clip and for the first chunk.
  """
  if module.is_initializing() or not module.is_mutable_collection(STREAM):
    return None
  before = None
  if module.has_variable(STREAM, name):
    before = module.get_variable(STREAM, name)
    tail = jnp.concatenate([before, x], axis=1)
  else:
    pad = max(frames - x.shape[1], 0)
    tail = jnp.pad(x, ((0, 0), (pad, 0), (0, 0), (0, 0), (0, 0)))
  module.put_variable(STREAM, name, tail[:, tail.shape[1] - frames :])
  return before


class ChannelNorm(nn.Module):
  """Scales every position's channels to length sqrt(C), times a learned scale.

  Source: docs/method/video_autoencoder.md#primitive-operations. Computed in
  float32.
  """

  @nn.compact
  def __call__(self, x: Float[Array, "*axes C"]) -> Float[Array, "*axes C"]:
    """Normalises the last axis."""
    channels = x.shape[-1]
    init = partitioning.param(nn.initializers.ones, ("norm",))
    scale = self.param("scale", init, (channels,))
    full = x.astype(jnp.float32)
    square = jnp.sum(full * full, axis=-1, keepdims=True)
    inverse = lax.rsqrt(jnp.maximum(square, 1e-24))
    return (full * inverse * (scale * math.sqrt(channels))).astype(x.dtype)


class StreamConv(nn.Module):
  """`CausalConv` that remembers its last frames between chunks."""

  features: int
  dtype: jnp.dtype
  form: str

  @nn.compact
  def __call__(self, x: Float[Array, "B T H W I"]) -> Float[Array, "B T H W O"]:
    """Convolves 3x3x3, after zeros or after the kept frames."""
    conv = causal_conv.CausalConv(
      self.features,
      dtype=self.dtype,
      form=self.form,
      kernel_init=causal_conv.latest_frame_normal(9 * x.shape[-1]),
      name="conv",
    )
    nn.share_scope(self, conv)
    return conv(x, _exchange(self, "frames", x, 2))


class ResidualBlock(nn.Module):
  """Norm, SiLU, causal convolution, twice, plus the input or a 1x1x1 of it."""

  features: int
  dtype: jnp.dtype
  form: str

  @nn.compact
  def __call__(self, x: Float[Array, "B T H W I"]) -> Float[Array, "B T H W O"]:
    """Applies the block."""
    h = nn.silu(ChannelNorm(name="norm_1")(x))
    h = StreamConv(self.features, self.dtype, self.form, name="conv_1")(h)
    h = nn.silu(ChannelNorm(name="norm_2")(h))
    h = StreamConv(self.features, self.dtype, self.form, name="conv_2")(h)
    if x.shape[-1] != self.features:
      x = causal_conv.CausalConv(
        self.features, (1, 1, 1), dtype=self.dtype, name="shortcut"
      )(x)
    return constrain(x + h)


class FrameAttention(nn.Module):
  """Single-head self-attention among the positions of each frame."""

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
    """Applies the block."""
    batch, frames, height, width, channels = x.shape
    # Every position sees all others of its frame, on a small grid.
    whole = partitioning.constrain(
      x, "batch", "frames", "height", "width", None
    )
    h = ChannelNorm(name="norm")(whole)
    conv = causal_conv.FrameConv
    h = conv(3 * channels, (1, 1), dtype=self.dtype, name="qkv")(h)
    h = h.reshape(batch * frames, height * width, 3, channels)  # [F N 3 C]
    q, k, v = (h[:, :, i] for i in range(3))
    scores = jnp.einsum(
      "fnc,fmc->fnm", q, k, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(scores / math.sqrt(channels), axis=-1)
    h = jnp.einsum("fnm,fmc->fnc", weights.astype(self.dtype), v)
    h = conv(channels, (1, 1), dtype=self.dtype, name="out")(h.reshape(x.shape))
    return constrain(x + h)


def _repeat_latest(
  key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32
) -> Array:
  """Kernel [3 1 1 I O] that copies the latest frame, O / I times over."""
  del key
  channels_in, channels_out = shape[3:]
  copies = jnp.tile(jnp.eye(channels_in), channels_out // channels_in)
  return jnp.zeros(shape, dtype).at[-1, 0, 0].set(copies.astype(dtype))


class _TimeKernel(nn.Module):
  """Kernel [3 1 1 I O] and bias of a convolution over three frames."""

  features: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, frames: tuple[Float[Array, "B T H W I"], ...]
  ) -> Float[Array, "B T H W O"]:
    """Combines earliest, middle and latest frames, already aligned."""
    stacked = jnp.concatenate(frames, axis=-1).astype(self.dtype)
    shape = (3, 1, 1, frames[0].shape[-1], self.features)
    axes = (None, None, None, "conv_in", "conv_out")
    kernel_init = partitioning.param(_repeat_latest, axes)
    kernel = self.param("kernel", kernel_init, shape)
    init = causal_conv.torch_uniform(math.prod(shape[:4]))
    bias_init = partitioning.param(init, ("conv_out",))
    bias = self.param("bias", bias_init, (self.features,))
    kernel = kernel.astype(self.dtype).reshape(-1, self.features)
    return stacked @ kernel + bias.astype(self.dtype)


class Downsample(nn.Module):
  """Halves height and width, and the frames after the first if `temporal`."""

  temporal: bool
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B t h w C"]:
    """Applies the block."""
    batch, frames, height, width, channels = x.shape
    x = x.reshape(batch * frames, height, width, channels)
    init = causal_conv.torch_uniform(9 * channels)
    x = nn.Conv(
      channels,
      (3, 3),
      strides=2,
      padding=[(0, 1), (0, 1)],
      dtype=self.dtype,
      kernel_init=partitioning.param(
        nn.initializers.lecun_normal(), (None, None, "conv_in", "conv_out")
      ),
      bias_init=partitioning.param(init, ("conv_out",)),
      name="spatial",
    )(x)
    x = x.reshape(batch, frames, *x.shape[1:])
    if not self.temporal:
      return constrain(x)
    before = _exchange(self, "frames", x, 1)
    first = x[:, :1] if before is None else x[:, :0]
    x = x if before is None else jnp.concatenate([before, x], axis=1)
    # Output k depends on frames 2k-2, 2k-1, 2k; the first passes unchanged.
    taps = (x[:, :-2:2], x[:, 1:-1:2], x[:, 2::2])
    rest = _TimeKernel(channels, self.dtype, name="temporal")(taps)
    return constrain(jnp.concatenate([first.astype(rest.dtype), rest], axis=1))


class Upsample(nn.Module):
  """Doubles the frames after the first if `temporal`, then height and width.

  Channels are halved.
  """

  temporal: bool
  dtype: jnp.dtype
  form: str

  @nn.compact
  def __call__(self, x: Float[Array, "B t h w C"]) -> Float[Array, "B T H W O"]:
    """Applies the block."""
    if self.temporal:
      x = self._double_frames(x)
    x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
    conv = causal_conv.FrameConv(
      x.shape[-1] // 2, dtype=self.dtype, form=self.form, name="spatial"
    )
    return constrain(conv(x))

  def _double_frames(self, x: Array) -> Array:
    batch, _, height, width, channels = x.shape
    streaming = self.is_mutable_collection(STREAM)
    whole = not streaming or self.is_initializing()
    start = whole or not self.has_variable(STREAM, "frames")
    first, x = (x[:, :1], x[:, 1:]) if start else (x[:, :0], x)
    # The very first frame is not part of the context: zeros stand for it.
    before = _exchange(self, "frames", x, 2)
    if before is None:
      before = jnp.zeros((batch, 2, height, width, channels), x.dtype)
    count = x.shape[1]
    x = jnp.concatenate([before, x], axis=1)
    taps = (x[:, :count], x[:, 1 : count + 1], x[:, 2:])
    doubled = _TimeKernel(2 * channels, self.dtype, name="temporal")(taps)
    doubled = doubled.reshape(batch, count, height, width, 2, channels)
    doubled = jnp.moveaxis(doubled, 4, 2)  # [B t 2 h w C], earlier first
    doubled = doubled.reshape(batch, 2 * count, height, width, channels)
    return jnp.concatenate([first.astype(doubled.dtype), doubled], axis=1)
