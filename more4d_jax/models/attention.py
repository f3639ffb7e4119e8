"""Self- and cross-attention of the transformer over `kernels.attention`.

Projections are divided by the partitioner. Everything between them runs on
each device's samples, tokens and heads (`partitioning.map_shards`), where
kernels can be used: norm and rotation of queries and keys, and attention.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from more4d_jax import partitioning
from more4d_jax.kernels.attention import context_parallel, dispatch
from more4d_jax.kernels.norm_rotary import dispatch as norm_rotary
from more4d_jax.kernels.norm_rotary import reference as norm_rotary_reference
from more4d_jax.models import layers

_QUERIES = ("batch", "tokens", "act_heads", None)
_SHARED = ("batch", "text", "act_heads", None)  # Keys that all queries see.
_SCALE = ("act_heads", None)
_ANGLES = ("tokens", None)


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
  """What one attention layer needs to know.

  Attributes:
    width: of tokens, all heads together.
    num_heads: heads.
    eps: of the norms.
    dtype: of matrix products.
    implementation: see `dispatch.attention`.
    context: one of `context_parallel.FORMS`, for self-attention over tokens
      that a mesh divides.
    norm_rotary: implementation, see `norm_rotary.norm_rotary`.
  """

  width: int
  num_heads: int
  eps: float = 1e-6
  dtype: str = "float32"
  implementation: str = "auto"
  context: str = "ring"
  norm_rotary: str = "auto"

  @property
  def head_dim(self) -> int:
    """Values per head."""
    return self.width // self.num_heads

  @property
  def head_axes(self) -> tuple[str, ...]:
    """Mesh axes that divide the heads."""
    return partitioning.mesh_axes("act_heads", self.num_heads)


def _project(config: AttentionConfig, name: str) -> layers.Dense:
  return layers.dense(
    config.width, ("embed", "heads"), dtype=config.dtype, name=name
  )


def _output(config: AttentionConfig) -> layers.Dense:
  return layers.dense(
    config.width, ("heads", "embed"), dtype=config.dtype, name="o"
  )


def _split_heads(x, config: AttentionConfig, axes=_SHARED):
  x = x.reshape(*x.shape[:-1], config.num_heads, config.head_dim)
  return partitioning.constrain(x, *axes)


def _merge_heads(x):
  return x.reshape(*x.shape[:-2], -1)


class _NormScale(nn.Module):
  """The parameter of `layers.RMSNorm`, by heads [K D]."""

  config: AttentionConfig

  @nn.compact
  def __call__(self):
    config = self.config
    ones = partitioning.param(nn.initializers.ones, ("norm",))
    scale = self.param("scale", ones, (config.width,))
    return scale.reshape(config.num_heads, config.head_dim)


def _mean_square(x, head_axes):
  """Mean of the squares of all heads, [b n]; see `_normalised`."""
  square = norm_rotary_reference.mean_square(_merge_heads(x))
  return jax.lax.pmean(square, head_axes) if head_axes else square


def _normalised(x, scale, config: AttentionConfig, head_axes):
  """RMS norm over the whole width in float32; in `dtype`.

  Args:
    x: [b n k D], the part of the heads that is here.
    scale: of these heads, [k D].
    config: of the layer.
    head_axes: manual mesh axes over which the heads are divided.
  """
  inverse = jax.lax.rsqrt(_mean_square(x, head_axes) + config.eps)
  out = scale * (x.astype(jnp.float32) * inverse[..., None, None])
  return out.astype(config.dtype)


def _rotated(x, scale, angles, config: AttentionConfig, head_axes):
  """As `_normalised`, then rotation by `angles` [n D]."""
  return norm_rotary.norm_rotary(
    _merge_heads(x),
    scale.reshape(-1),
    angles,
    _mean_square(x, head_axes) if head_axes else None,
    num_heads=x.shape[2],
    eps=config.eps,
    implementation=config.norm_rotary,
  )


def _fill(x, axis, count):
  """Appends zeros along an axis."""
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, count)
  return jnp.pad(x, widths) if count else x


class SelfAttention(nn.Module):
  """Full attention; q and k are normalised over the whole width and rotated.

  Source: docs/method/transformer.md#block.
  """

  config: AttentionConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B N D"],
    angles: Float[Array, "N d"],
    key_length: Int[Array, "B"] | None = None,
  ) -> Float[Array, "B N D"]:
    """Attends; keys at or beyond `key_length` take no part.

    Args:
      x: tokens.
      angles: see `layers.rotary_angles`.
      key_length: None means all keys.
    """
    config, (batch, length, _) = self.config, x.shape
    x = x.astype(config.dtype)
    heads = [
      _split_heads(_project(config, name)(x), config, _QUERIES)
      for name in ("q", "k", "v")
    ]
    scales = [_NormScale(config, name=name)() for name in ("norm_q", "norm_k")]
    filling = partitioning.filling("tokens", length)
    if filling and key_length is None:
      key_length = jnp.full((batch,), length)
    body = functools.partial(
      _attend_to_itself,
      config=config,
      head_axes=config.head_axes,
      token_axes=partitioning.mesh_axes("tokens", length + filling),
    )
    axes = *[_QUERIES] * 3, _SCALE, _SCALE, _ANGLES, ("batch",)
    out = partitioning.map_shards(
      body,
      axes,
      *(_fill(x, 1, filling) for x in heads),
      *scales,
      _fill(angles, 0, filling),
      key_length,
    )
    out = partitioning.constrain(out[:, :length], *_QUERIES)
    return _output(config)(_merge_heads(out))


def _attend_to_itself(
  q, k, v, q_scale, k_scale, angles, key_length,
  *, config: AttentionConfig, head_axes, token_axes,
):  # fmt: skip
  """Self-attention of the tokens and heads of one device, [b n k D]."""
  q = _rotated(q, q_scale, angles, config, head_axes)
  k = _rotated(k, k_scale, angles, config, head_axes)
  options = {"key_length": key_length, "implementation": config.implementation}
  if token_axes:
    return context_parallel.attention(
      q, k, v, axis=token_axes, form=config.context, **options
    )
  return dispatch.attention(q, k, v, **options)


class CrossAttention(nn.Module):
  """One query against the text and, if given, against image tokens.

  The two attentions are independent softmaxes whose results are added before
  the shared output map. All keys take part, padding rows of the text too.
  Source: docs/method/transformer.md#block.
  """

  config: AttentionConfig

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B N D"],
    text: Float[Array, "B L D"],
    image: Float[Array, "B M D"] | None = None,
  ) -> Float[Array, "B N D"]:
    """Attends from `x` to the contexts."""
    config, length = self.config, x.shape[1]
    q = _project(config, "q")(x.astype(config.dtype))
    q = _split_heads(q, config, _QUERIES)
    q = _fill(q, 1, partitioning.filling("tokens", length))
    arrays = [q, _NormScale(config, name="norm_q")()]
    axes = [_QUERIES, _SCALE]
    for context, suffix in ((text, ""), (image, "_img")):
      if context is not None:
        arrays += self._keys(context, suffix)
        axes += [_SHARED, _SHARED, _SCALE]
    body = functools.partial(
      _attend_to_contexts, config=config, head_axes=config.head_axes
    )
    out = partitioning.map_shards(body, axes, *arrays)
    out = partitioning.constrain(out[:, :length], *_QUERIES)
    return _output(config)(_merge_heads(out))

  def _keys(self, context, suffix: str):
    """Keys and values before the norm, and the norm's scale."""
    config = self.config
    context = context.astype(config.dtype)
    k, v = (
      _split_heads(_project(config, f"{name}{suffix}")(context), config)
      for name in ("k", "v")
    )
    return k, v, _NormScale(config, name=f"norm_k{suffix}")()


def _attend_to_contexts(q, q_scale, *keys, config: AttentionConfig, head_axes):
  """Sum of attention to each (keys, values, scale) on one device, [b n k D]."""
  q = _normalised(q, q_scale, config, head_axes)
  return sum(
    dispatch.attention(
      q,
      _normalised(k, k_scale, config, head_axes),
      v,
      implementation=config.implementation,
    )
    for k, v, k_scale in zip(*[iter(keys)] * 3, strict=True)
  )


class VisionBlock(nn.Module):
  """Pre-norm block of a plain vision transformer with exact GELU.

  Returns a pair, as `nn.scan` wants it.
  """

  num_heads: int
  mlp_width: int
  eps: float = 1e-6
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"]
  ) -> tuple[Float[Array, "B N D"], None]:
    """Applies the block to every token."""
    config = AttentionConfig(x.shape[-1], self.num_heads, dtype=self.dtype)
    u = layers.LayerNorm(self.eps, name="norm1")(x).astype(self.dtype)
    q, k, v = (
      _split_heads(_project(config, name)(u), config)
      for name in ("q", "k", "v")
    )
    out = partitioning.map_shards(dispatch.attention, [_SHARED] * 3, q, k, v)
    out = _output(config)(_merge_heads(out))
    x = x + out.astype(jnp.float32)
    u = layers.LayerNorm(self.eps, name="norm2")(x)
    out = layers.MLP(
      self.mlp_width, x.shape[-1], _exact_gelu, self.dtype, name="mlp"
    )(u)
    return x + out.astype(jnp.float32), None


def _exact_gelu(x):
  return jax.nn.gelu(x, approximate=False)
