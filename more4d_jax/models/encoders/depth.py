"""Monocular depth: a trunk and the DPT head of Depth Anything V2."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from more4d_jax import partitioning
from more4d_jax.models import causal_conv, interpolation, layers
from more4d_jax.models.encoders import convolutional_trunk

TRUNKS = ("dinov2", "convolutional")
OUTPUTS = ("exp", "softplus", "sigmoid", "relu")

# Colour statistics of the pictures the published trunks were trained on.
_COLOUR_MEAN = (0.485, 0.456, 0.406)
_COLOUR_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class DepthConfig:
  """Sizes of the depth network; the defaults are the published ViT-S.

  Attributes:
    trunk: "dinov2", the published transformer, or "convolutional", see
      `convolutional_trunk`; that reads `num_layers`, `patch` and `reassemble`
      alone.
    width: of the trunk's tokens.
    num_layers: transformer blocks, or residual blocks at each size.
    num_heads: of attention.
    mlp_ratio: hidden width of a block's MLP over `width`.
    patch: side of a patch in pixels.
    position_grid: rows and columns of the learned position table.
    position_offset: added to the wanted rows and columns before the table is
      interpolated: 0.1 in the published DINOv2, 0 in transformers. The two
      agree where the grid is the table's own.
    taps: the four blocks whose outputs the head reads, counted from 0.
    reassemble: channels of the four maps made of them, or of the
      convolutional trunk's.
    features: channels of the fusion blocks.
    head_features: channels before the last convolution.
    output: "exp" (the network gives log depth), "softplus", "sigmoid" (times
      `max_depth`, as published metric checkpoints), "relu" (published
      relative ones; not metric).
    max_depth: metres, for "sigmoid".
    input_size: shorter side, in pixels, that pictures are resized to; None
      keeps their size. Either way sides become multiples of `multiple`.
    dtype: of the computation; parameters, norms and softmax are float32.
    remat: what of each block the backward pass finds, see `models.remat`.
  """

  trunk: str = "dinov2"
  width: int = 384
  num_layers: int = 12
  num_heads: int = 6
  mlp_ratio: int = 4
  patch: int = 14
  position_grid: tuple[int, int] = (37, 37)
  position_offset: float = 0.1
  taps: tuple[int, int, int, int] = (2, 5, 8, 11)
  reassemble: tuple[int, int, int, int] = (48, 96, 192, 384)
  features: int = 64
  head_features: int = 32
  output: str = "exp"
  max_depth: float = 20.0
  input_size: int | None = None
  dtype: str = "float32"
  conv: str = "auto"
  remat: str = "none"

  def __post_init__(self):
    for name in ("position_grid", "taps", "reassemble"):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    for name, known in (("trunk", TRUNKS), ("output", OUTPUTS)):
      found = getattr(self, name)
      if found not in known:
        raise ValueError(f"depth {name} {found!r}: expected one of {known}")
    if self.trunk == "convolutional":
      if self.patch % 4:
        raise ValueError(
          f"depth patch {self.patch}: expected a multiple of 4 beside a "
          "convolutional trunk"
        )
    elif max(self.taps) >= self.num_layers or len(self.taps) != 4:
      raise ValueError(
        f"depth taps {self.taps}: expected four blocks below {self.num_layers}"
      )

  @property
  def multiple(self) -> int:
    """What the sides of the pictures that the trunk sees are multiples of."""
    return self.patch * (2 if self.trunk == "convolutional" else 1)

  def working_size(self, height: int, width: int) -> tuple[int, int]:
    """(H, W) that it runs at: multiples of `multiple`, aspect kept."""
    wanted = self.input_size
    scale = 1.0 if wanted is None else wanted / min(height, width)
    p = self.multiple

    def snap(length: int) -> int:
      rounded = int(np.round(length * scale / p)) * p
      if wanted is not None and rounded < wanted:
        rounded = int(np.ceil(length * scale / p)) * p
      return max(rounded, p)

    return snap(height), snap(width)


def position_table(
  table: Float[Array, "n D"],
  grid: tuple[int, int],
  wanted: tuple[int, int],
  offset: float = 0.1,
) -> Float[Array, "m D"]:
  """Interpolates learned positions to another grid of patches.

  Source: DINOv2, which adds `offset` to the wanted sizes before it divides.
  """
  if grid == wanted:
    return table
  rows, columns = (
    interpolation.cubic_matrix(have, want, (want + offset) / have)
    for have, want in zip(grid, wanted)
  )
  table = table.reshape(1, *grid, -1)
  return interpolation.apply_matrices(table, rows, columns).reshape(
    wanted[0] * wanted[1], -1
  )


def _param(module: nn.Module, name: str, init, axes, shape) -> Array:
  return module.param(name, partitioning.param(init, axes), shape)


def _dense(features: int, axes: tuple, dtype, name: str) -> nn.Dense:
  return nn.Dense(
    features,
    dtype=dtype,
    kernel_init=partitioning.param(nn.initializers.xavier_uniform(), axes),
    bias_init=partitioning.param(nn.initializers.zeros, axes[1:]),
    name=name,
  )


def _layer_norm(name: str) -> nn.LayerNorm:
  return nn.LayerNorm(
    epsilon=1e-6,
    use_fast_variance=False,
    dtype=jnp.float32,
    scale_init=partitioning.param(nn.initializers.ones, ("norm",)),
    bias_init=partitioning.param(nn.initializers.zeros, ("norm",)),
    name=name,
  )


class _Block(nn.Module):
  """Transformer block with scaled residual branches."""

  config: DepthConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> tuple[Array, Array]:
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    batch, tokens, width = x.shape
    heads = config.num_heads
    init = nn.initializers.ones
    h = _layer_norm("norm_1")(x).astype(dtype)
    h = _dense(3 * width, ("embed", "heads"), dtype, "qkv")(h)
    h = h.reshape(batch, tokens, 3, heads, width // heads)
    h = jax.nn.dot_product_attention(h[:, :, 0], h[:, :, 1], h[:, :, 2])
    h = h.reshape(batch, tokens, width)
    h = _dense(width, ("heads", "embed"), dtype, "out")(h)
    x = x + h * _param(self, "scale_1", init, ("norm",), (width,))
    h = _layer_norm("norm_2")(x).astype(dtype)
    h = _dense(config.mlp_ratio * width, ("embed", "mlp"), dtype, "mlp_in")(h)
    h = nn.gelu(h, approximate=False)
    h = _dense(width, ("mlp", "embed"), dtype, "mlp_out")(h)
    x = x + h * _param(self, "scale_2", init, ("norm",), (width,))
    x = partitioning.constrain(x, "batch", None, "act_embed")
    return x, x


class Trunk(nn.Module):
  """DINOv2 vision transformer; returns the four tapped layers' patch tokens."""

  config: DepthConfig

  @nn.compact
  def __call__(
    self, image: Float[Array, "B H W 3"]
  ) -> list[Float[Array, "B h w D"]]:
    """Applies the trunk to a picture with normalised colours."""
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    batch, height, width, _ = image.shape
    p = config.patch
    h, w = height // p, width // p
    x = layers.space_to_depth(image, p).reshape(batch, h * w, p * p * 3)
    x = _dense(config.width, (None, "embed"), dtype, "patch")(x)
    table = _param(
      self,
      "position",
      nn.initializers.normal(0.02),
      ("table", "embed"),
      (1 + config.position_grid[0] * config.position_grid[1], config.width),
    )
    token = _param(
      self,
      "class_token",
      nn.initializers.normal(1e-6),
      ("embed",),
      (config.width,),
    )
    places = position_table(
      table[1:], config.position_grid, (h, w), config.position_offset
    )
    x = x.astype(jnp.float32) + places
    token = jnp.broadcast_to(token + table[0], (batch, 1, config.width))
    x = jnp.concatenate([token, x], axis=1)
    blocks = layers.stacked(_Block, config.num_layers, config.remat)
    _, outputs = blocks(config, name="layers")(x)
    norm = _layer_norm("norm")
    shape = (batch, h, w, config.width)
    return [norm(outputs[i])[:, 1:].reshape(shape) for i in config.taps]


class _Enlarge(nn.Module):
  """Makes `factor` by `factor` pixels of each one by a learned kernel."""

  factor: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B H W C"]:
    batch, height, width, channels = x.shape
    shape = (self.factor, self.factor, channels, channels)
    axes = (None, None, "conv_in", "conv_out")
    init = causal_conv.torch_uniform(channels)
    kernel = _param(self, "kernel", init, axes, shape).astype(self.dtype)
    bias = _param(self, "bias", init, ("conv_out",), (channels,))
    y = jnp.einsum("bhwi,uvio->bhuwvo", x.astype(self.dtype), kernel)
    y = y.reshape(batch, height * self.factor, width * self.factor, channels)
    return y + bias.astype(self.dtype)


class _ResidualConv(nn.Module):
  config: DepthConfig

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    conv = functools.partial(
      causal_conv.FrameConv,
      self.config.features,
      dtype=jnp.dtype(self.config.dtype),
      form=self.config.conv,
    )
    h = conv(name="conv_1")(nn.relu(x))
    return x + conv(name="conv_2")(nn.relu(h))


class _Fusion(nn.Module):
  """Adds a finer map to the path, refines, enlarges to `size`, projects."""

  config: DepthConfig

  @nn.compact
  def __call__(
    self,
    path: Float[Array, "B h w C"] | None,
    finer: Float[Array, "B h w C"],
    size: tuple[int, int],
  ) -> Float[Array, "B H W C"]:
    config = self.config
    if path is None:
      path = finer
    else:
      path = path + _ResidualConv(config, name="residual_1")(finer)
    path = _ResidualConv(config, name="residual_2")(path)
    path = interpolation.resize_linear(path, *size)
    dtype = jnp.dtype(config.dtype)
    return causal_conv.FrameConv(
      config.features, (1, 1), dtype=dtype, name="out"
    )(path)


class Head(nn.Module):
  """DPT head: four maps at 4, 2, 1 and 1/2 times the patch grid, fused."""

  config: DepthConfig

  @nn.compact
  def __call__(
    self, taps: list[Float[Array, "B _ _ _"]], size: tuple[int, int]
  ) -> Float[Array, "B H W"]:
    """Returns the last layer's output before the final activation.

    Args:
      taps: of the transformer, all on the patch grid, or the convolutional
        trunk's maps, which have their sizes.
      size: (H, W) of the result.
    """
    config, dtype = self.config, jnp.dtype(self.config.dtype)
    conv = functools.partial(
      causal_conv.FrameConv, dtype=dtype, form=config.conv
    )
    maps = []
    for i, tap in enumerate(taps):
      x = self._reassembled(i, tap) if config.trunk == "dinov2" else tap
      maps.append(conv(config.features, use_bias=False, name=f"reduce_{i}")(x))
    path = None
    for i in (3, 2, 1, 0):
      height, width = maps[i].shape[1:3]
      target = maps[i - 1].shape[1:3] if i else (2 * height, 2 * width)
      path = _Fusion(config, name=f"fusion_{i}")(path, maps[i], target)
    x = conv(config.features // 2, name="conv_1")(path)
    x = interpolation.resize_linear(x, *size)
    x = nn.relu(conv(config.head_features, name="conv_2")(x))
    return conv(1, (1, 1), name="conv_3")(x)[..., 0].astype(jnp.float32)

  def _reassembled(self, index: int, x: Float[Array, "B h w D"]) -> Array:
    """Brings tap 0..3 to 4, 2, 1 and 1/2 times the patch grid."""
    dtype = jnp.dtype(self.config.dtype)
    channels = self.config.reassemble[index]
    x = causal_conv.FrameConv(
      channels, (1, 1), dtype=dtype, name=f"project_{index}"
    )(x)
    if index < 2:
      return _Enlarge(4 >> index, dtype, name=f"resize_{index}")(x)
    if index == 2:
      return x
    init = causal_conv.torch_uniform(9 * channels)
    return nn.Conv(
      channels,
      (3, 3),
      strides=2,
      padding=1,
      dtype=dtype,
      kernel_init=partitioning.param(init, (None, None, "conv_in", "conv_out")),
      bias_init=partitioning.param(init, ("conv_out",)),
      name="resize_3",
    )(x)


class DepthNetwork(nn.Module):
  """Metric depth of single pictures.

  Parameters: "trunk", "head".
  Source: Depth Anything V2 (arXiv 2406.09414).
  """

  config: DepthConfig

  @nn.compact
  def __call__(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B H W"]:
    """Returns depth along z in metres, positive ("relu": relative, >= 0).

    Args:
      image: in [0, 1]; resized inside where its sides are no multiples of the
        patch, and the result resized back.
    """
    config = self.config
    height, width = image.shape[1:3]
    size = config.working_size(height, width)
    image = interpolation.resize_cubic(image, *size)
    image = (image - jnp.asarray(_COLOUR_MEAN)) / jnp.asarray(_COLOUR_STD)
    if config.trunk == "convolutional":
      trunk = convolutional_trunk.ConvolutionalTrunk(
        channels=config.reassemble,
        blocks=config.num_layers,
        patch=config.patch,
        dtype=jnp.dtype(config.dtype),
        form=config.conv,
        name="trunk",
      )
    else:
      trunk = Trunk(config, name="trunk")
    taps = trunk(image)
    raw = Head(config, name="head")(taps, size)
    if config.output == "exp":
      depth = jnp.exp(jnp.clip(raw, -12.0, 12.0))
    elif config.output == "softplus":
      depth = nn.softplus(raw) + 1e-6
    elif config.output == "sigmoid":
      depth = nn.sigmoid(raw) * config.max_depth
    else:
      depth = nn.relu(raw)
    depth = interpolation.resize_linear(depth[..., None], height, width)[..., 0]
    return partitioning.constrain(depth, "batch", "height", "width")
