"""Convolutions that see only the past, and plain 2-D ones by the same code.

A 3x3x3 convolution is computed either as one ("volume"), or ("frames") as one
2-D convolution that yields the share of all three frame taps at once, shifted
and added. The two are equal; the second is several times faster on CPUs.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.kernels.attention import dispatch

FORMS = ("auto", "frames", "volume")

# Patches gathered at once for a kernel's gradient: about a core's cache.
_PATCH_BYTES = 4 << 20

# Below this many positions XLA's own kernel gradient is fast enough, and
# compiles sooner.
_FEW_POSITIONS = 16384


def torch_uniform(fan_in: int) -> Callable[..., Array]:
  """PyTorch's default initializer: uniform within 1/sqrt(fan_in).

  Biases are drawn too: an input of zeros (a still motion video) then never
  meets a norm as an exact zero vector, where its gradient would be 1e12.
  """
  bound = 1.0 / math.sqrt(fan_in)

  def init(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def latest_frame_normal(fan_in: int) -> Callable[..., Array]:
  """Normal values for the latest frame's taps, zeros for the earlier ones.

  A video network starts as a network of single frames, so that what it learnt
  from pictures is a good start for clips.

  Args:
    fan_in: input values of one frame's taps; the variance is 1 / fan_in.
  """
  normal = nn.initializers.normal(1.0 / math.sqrt(fan_in))

  def init(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    latest = normal(key, shape[1:], dtype)
    return jnp.zeros(shape, dtype).at[-1].set(latest)

  return init


def _shift(x: Float[Array, "B T H W C"], frames: int) -> Array:
  """Delays by `frames` (advances if negative), with zeros moving in."""
  if frames >= 0:
    x = x[:, : x.shape[1] - frames]
    return jnp.pad(x, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))
  return jnp.pad(x[:, -frames:], ((0, 0), (0, -frames), (0, 0), (0, 0), (0, 0)))


def _taps(
  x: Float[Array, "B T H W I"], kernel: Float[Array, "kt kh kw I O"], sign: int
) -> Float[Array, "B T H W O"]:
  """Sums over taps k of conv2d(x, kernel[k]) delayed by sign * (kt-1-k)."""
  batch, frames, height, width, _ = x.shape
  kt, kh, kw, channels_in, channels_out = kernel.shape
  flat = jnp.transpose(kernel, (1, 2, 3, 0, 4))
  out = lax.conv_general_dilated(
    x.reshape(batch * frames, height, width, channels_in),
    flat.reshape(kh, kw, channels_in, kt * channels_out),
    (1, 1),
    [(kh // 2, kh // 2), (kw // 2, kw // 2)],
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  out = out.reshape(batch, frames, height, width, kt, channels_out)
  total = out[..., kt - 1, :]
  for k in range(kt - 1):
    total = total + _shift(out[..., k, :], sign * (kt - 1 - k))
  return total


@jax.custom_vjp
def _conv_frames(
  x: Float[Array, "B T H W I"], kernel: Float[Array, "kt kh kw I O"]
) -> Float[Array, "B T H W O"]:
  return _taps(x, kernel, 1)


def _rows_at_once(shape: tuple[int, ...], itemsize: int, taps: int) -> int:
  """Largest divisor of the height whose patches fit `_PATCH_BYTES`."""
  batch, _, height, width, channels = shape
  row = batch * width * channels * taps * itemsize
  fitting = [
    rows
    for rows in range(1, height + 1)
    if height % rows == 0 and rows * row <= _PATCH_BYTES
  ]
  return max(fitting, default=1)


def _kernel_gradient(
  x: Float[Array, "B T H W I"],
  grad: Float[Array, "B T H W O"],
  kernel_shape: tuple[int, ...],
) -> Float[Array, "kt kh kw I O"]:
  """Patches times gradients, a few rows of one frame at a time.

  The batch stays an axis of its own, so that it may be divided over devices.
  """
  kt, kh, kw, channels_in, channels_out = kernel_shape
  batch, frames, height, width, _ = x.shape
  rows = _rows_at_once(x.shape, x.dtype.itemsize, kh * kw)
  parts = height // rows
  pad_h, pad_w = (kh // 2, kh // 2), (kw // 2, kw // 2)
  padded = jnp.pad(x, ((0, 0), (0, 0), pad_h, pad_w, (0, 0)))
  # What frame s of x adds to is the gradient at s + (kt-1-k) for tap k.
  taps = [_shift(grad, -(kt - 1 - k)) for k in range(kt)]
  shifted = jnp.concatenate(taps, axis=-1)  # [B T H W kt*O]

  def step(total: Array, index: Array) -> tuple[Array, None]:
    frame, row = index // parts, (index % parts) * rows
    size = (batch, 1, rows + kh - 1, width + kw - 1, channels_in)
    block = lax.dynamic_slice(padded, (0, frame, row, 0, 0), size)[:, 0]
    size = (batch, 1, rows, width, kt * channels_out)
    part = lax.dynamic_slice(shifted, (0, frame, row, 0, 0), size)[:, 0]
    patches = [
      block[:, a : a + rows, b : b + width]
      for a in range(kh)
      for b in range(kw)
    ]
    patches = jnp.concatenate(patches, axis=-1)
    product = lax.dot_general(
      patches.reshape(-1, kh * kw * channels_in),
      part.reshape(-1, kt * channels_out),
      (((0,), (0,)), ((), ())),
      preferred_element_type=jnp.float32,
    )
    return total + product, None

  total = jnp.zeros((kh * kw * channels_in, kt * channels_out), jnp.float32)
  total, _ = lax.scan(step, total, jnp.arange(frames * parts))
  total = total.reshape(kh, kw, channels_in, kt, channels_out)
  return jnp.transpose(total, (3, 0, 1, 2, 4)).astype(x.dtype)


def _conv_frames_forward(x: Array, kernel: Array) -> tuple:
  return _taps(x, kernel, 1), (x, kernel)


def _conv_frames_backward(saved: tuple, grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  flipped = jnp.swapaxes(kernel[:, ::-1, ::-1], 3, 4)
  if x.size // x.shape[-1] < _FEW_POSITIONS:
    _, pull = jax.vjp(lambda k: _taps(x, k, 1), kernel)
    return _taps(grad, flipped, -1), pull(grad)[0]
  return _taps(grad, flipped, -1), _kernel_gradient(x, grad, kernel.shape)


_conv_frames.defvjp(_conv_frames_forward, _conv_frames_backward)


def causal_conv(
  x: Float[Array, "B T H W I"],
  kernel: Float[Array, "kt kh kw I O"],
  form: str = "auto",
) -> Float[Array, "B T H W O"]:
  """Convolves with zeros around every frame and kt-1 zero frames before.

  Args:
    x: video; with kt = 1 every frame is on its own.
    kernel: of odd height and width, in x's dtype.
    form: "frames", "volume", or "auto": frames on CPU, else volume. What runs
      it are the devices of the mesh in force, else the default ones.

  Raises:
    ValueError: for another form.
  Source: docs/method/video_autoencoder.md#primitive-operations.
  """
  if form not in FORMS:
    raise ValueError(f"convolution form {form!r}: expected one of {FORMS}")
  if form == "auto":
    # A plan is made on another machine than the one that runs.
    kind = dispatch.device_kind() or jax.default_backend()
    form = "frames" if kind == "cpu" else "volume"
  if form == "frames":
    # Taps beyond the clip's first frame would meet zeros only.
    return _conv_frames(x, kernel[max(kernel.shape[0] - x.shape[1], 0) :])
  kt, kh, kw = kernel.shape[:3]
  return lax.conv_general_dilated(
    x,
    kernel,
    (1, 1, 1),
    [(kt - 1, 0), (kh // 2, kh // 2), (kw // 2, kw // 2)],
    dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
  )


class CausalConv(nn.Module):
  """A causal 3-D convolution with the kernel [kt kh kw I O] and a bias.

  Attributes:
    features: output channels.
    kernel_size: (frames, rows, columns); rows and columns are odd.
    dtype: of the computation; parameters stay float32.
    form: see `causal_conv`.
    kernel_init: instead of PyTorch's default.
    bias_init: instead of PyTorch's default.
  """

  features: int
  kernel_size: tuple[int, int, int] = (3, 3, 3)
  dtype: Any = jnp.float32
  form: str = "auto"
  kernel_init: Callable[..., Array] | None = None
  bias_init: Callable[..., Array] | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B T H W I"],
    context: Float[Array, "B c H W I"] | None = None,
  ) -> Float[Array, "B T H W O"]:
    """Convolves; `context` are the kt-1 frames before x, zeros if None."""
    shape = (*self.kernel_size, x.shape[-1], self.features)
    default = torch_uniform(math.prod(shape[:4]))
    kernel = self.param(
      "kernel",
      partitioning.param(
        self.kernel_init or default, (None, None, None, "conv_in", "conv_out")
      ),
      shape,
    ).astype(self.dtype)
    bias = self.param(
      "bias",
      partitioning.param(self.bias_init or default, ("conv_out",)),
      (self.features,),
    ).astype(self.dtype)
    x = x.astype(self.dtype)
    if context is not None:
      before = context.shape[1]
      x = jnp.concatenate([context.astype(self.dtype), x], axis=1)
      return causal_conv(x, kernel, self.form)[:, before:] + bias
    if self.kernel_size == (1, 1, 1):
      return jnp.einsum("...i,io->...o", x, kernel[0, 0, 0]) + bias
    return causal_conv(x, kernel, self.form) + bias


class FrameConv(nn.Module):
  """A 3x3 convolution of every frame, with the kernel [kh kw I O] and a bias.

  Attributes: as of `CausalConv`; `use_bias` leaves the bias out.
  """

  features: int
  kernel_size: tuple[int, int] = (3, 3)
  dtype: Any = jnp.float32
  form: str = "auto"
  use_bias: bool = True
  kernel_init: Callable[..., Array] | None = None
  bias_init: Callable[..., Array] | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "*B H W I"]) -> Float[Array, "*B H W O"]:
    """Convolves with zeros around every frame."""
    shape = (*self.kernel_size, x.shape[-1], self.features)
    default = torch_uniform(math.prod(shape[:3]))
    kernel = self.param(
      "kernel",
      partitioning.param(
        self.kernel_init or default, (None, None, "conv_in", "conv_out")
      ),
      shape,
    ).astype(self.dtype)
    x = x.astype(self.dtype)
    if self.kernel_size == (1, 1):
      y = jnp.einsum("...i,io->...o", x, kernel[0, 0])
    else:
      video = x.reshape(-1, 1, *x.shape[-3:])
      y = causal_conv(video, kernel[None], self.form)
      y = y.reshape(*x.shape[:-1], self.features)
    if not self.use_bias:
      return y
    bias = self.param(
      "bias",
      partitioning.param(self.bias_init or default, ("conv_out",)),
      (self.features,),
    )
    return y + bias.astype(self.dtype)
