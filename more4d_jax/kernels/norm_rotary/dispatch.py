"""One entry to norm and rotation, and the choice of an implementation."""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from more4d_jax.kernels.attention import dispatch as attention
from more4d_jax.kernels.norm_rotary import (
  mosaic_gpu,
  mosaic_tpu,
  plain,
  reference,
)

_log = logging.getLogger(__name__)
IMPLEMENTATIONS = ("auto", "mosaic_gpu", "mosaic_tpu", "plain", "reference")
# Its kernels take what attention's of the same names take.
why_not = attention.why_not
_ROOMS = {"mosaic_gpu": mosaic_gpu, "mosaic_tpu": mosaic_tpu, "plain": plain}


@dataclasses.dataclass(frozen=True)
class Options:
  """What is not an array."""

  num_heads: int
  eps: float
  implementation: str


def validate(
  x: Array | jax.ShapeDtypeStruct,
  scale: Array | jax.ShapeDtypeStruct,
  angles: Array | jax.ShapeDtypeStruct,
  square: Array | jax.ShapeDtypeStruct | None,
  options: Options,
) -> None:
  """Raises ValueError in one line when the arguments do not fit together."""
  if options.implementation not in IMPLEMENTATIONS:
    raise ValueError(
      "norm_rotary implementation must be one of "
      f"{', '.join(IMPLEMENTATIONS)}; found {options.implementation!r}; set "
      "model.norm_rotary to one of them"
    )
  heads = options.num_heads
  if x.ndim != 3 or heads < 1 or x.shape[-1] % (2 * heads):
    raise ValueError(
      f"norm_rotary needs x [B N W] of {heads} heads of an even width; found "
      f"{x.shape}"
    )
  batch, rows, width = x.shape
  wanted = (width,), (rows, width // heads)
  if (scale.shape, angles.shape) != wanted:
    raise ValueError(
      f"norm_rotary needs scale {wanted[0]} and angles {wanted[1]} for x "
      f"{x.shape} of {heads} heads; found {scale.shape} and {angles.shape}"
    )
  if square is not None and square.shape != (batch, rows):
    raise ValueError(
      f"norm_rotary needs square of shape {(batch, rows)}, one per token; "
      f"found {square.shape}"
    )
  reason = why_not(
    options.implementation, width // heads, x.dtype, attention.device_kind()
  )
  if reason:
    raise ValueError(
      f"norm_rotary implementation {options.implementation!r} {reason}; use "
      "'plain'"
    )


@functools.cache
def _log_choice(kind: str | None, tpu_reason: str, gpu_reason: str) -> None:
  def choice(kernel, reason):
    return f"plain ({kernel} {reason})" if reason else kernel

  chosen = attention.on_the_device(
    kind,
    cpu="plain",
    gpu=choice("mosaic_gpu", tpu_reason or gpu_reason),
    tpu=choice("mosaic_tpu", tpu_reason),
  )
  _log.info("norm_rotary 'auto': %s", chosen)


def _per_platform(pass_name, *args, options: Options):
  """Runs one pass of the implementation that the platform calls for."""
  values = {"num_heads": options.num_heads, "eps": options.eps}
  rooms = {
    name: functools.partial(getattr(room, pass_name), **values)
    for name, room in _ROOMS.items()
  }
  if options.implementation == "auto":
    x, default = jax.tree.leaves(args)[0], rooms["plain"]
    without = attention.why_no_gpu_kernel(
      x.shape[-1] // options.num_heads, x.dtype
    )
    return jax.lax.platform_dependent(
      *args,
      cuda=default if without else rooms["mosaic_gpu"],
      tpu=rooms["mosaic_tpu"],
      default=default,
    )
  return rooms[options.implementation](*args)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _with_own_gradient(x, scale, angles, square, options):
  return _forward(x, scale, angles, square, options)[0]


def _forward(x, scale, angles, square, options):
  inputs = x, scale, angles, square
  return _per_platform("forward", inputs, options=options), inputs


def _backward(options, inputs, d_out):
  d_x, d_scale, d_square = _per_platform(
    "backward", inputs, d_out, options=options
  )
  return d_x, d_scale.astype(inputs[1].dtype), None, d_square


_with_own_gradient.defvjp(_forward, _backward)


def norm_rotary(
  x: Float[Array, "B N W"],
  scale: Float[Array, "W"],
  angles: Float[Array, "N D"],
  square: Float[Array, "B N"] | None = None,
  *,
  num_heads: int,
  eps: float,
  implementation: str = "auto",
) -> Float[Array, "B N K D"]:
  """RMS norm over the whole width, then rotation of the pairs (i, i + D/2).

  Statistics and rotation are float32; the result has the dtype of `x`.
  Differentiable in x, scale and square; the angles are constants.

  Args:
    x: outputs of the q or the k map, heads side by side.
    scale: of the norm.
    angles: cosines of each token's pairs, and their sines after these.
    square: mean of squares of each token over all heads, float32, for an `x`
      that holds some of them: with heads divided over a mesh axis it is
      `lax.pmean(reference.mean_square(x), axis)`. None takes that of `x`.
    num_heads: heads in `x`.
    eps: added to the mean of squares.
    implementation: one of `IMPLEMENTATIONS`; "auto" logs its choice. A named
      one that the platform cannot run is an error when it is lowered.

  Raises:
    ValueError: for an unknown implementation, or arguments that do not fit
      together or to the implementation.
  """
  angles = angles.astype(jnp.float32)
  if implementation == "auto":
    head_dim = x.shape[-1] // max(num_heads, 1)
    reason = attention.why_no_kernel(head_dim, x.dtype)
    implementation = "plain" if reason else "auto"
    gpu_reason = attention.why_no_gpu_kernel(head_dim, x.dtype)
    _log_choice(attention.device_kind(), reason, gpu_reason)
  options = Options(num_heads, eps, implementation)
  validate(x, scale, angles, square, options)
  if square is not None:
    square = square.astype(jnp.float32)
  # The transpose sums gradients of the scale over devices with other tokens,
  # of a mean of squares over devices with other heads.
  x, scale, angles, square = attention.varying_alike(x, scale, angles, square)
  if implementation == "reference":
    return reference.norm_rotary(
      x, scale, angles, square, num_heads=num_heads, eps=eps
    )
  return _with_own_gradient(x, scale, angles, square, options)
