"""One entry to attention, and the choice of an implementation."""

import functools
import logging
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import ad_checkpoint
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from more4d_jax.kernels.attention import (
  mosaic_gpu,
  mosaic_tpu,
  plain,
  reference,
)

_log = logging.getLogger(__name__)
IMPLEMENTATIONS = (
  "auto",
  "cudnn",
  "mosaic_gpu",
  "mosaic_tpu",
  "plain",
  "reference",
  "xla",
)

# Up to here "auto" runs `reference` everywhere: the weights, kept for the
# gradient, are no larger than the queries of a head, and nothing is gained by
# forming them again or by a kernel's tiles of 128 keys.
FEW_KEYS = 64

# Name of what a forward pass gives, for policies of rematerialisation.
OUTPUTS = "attention_outputs"

_NO_CUDA = ("cpu", "TPU")  # Starts of the kinds of other devices.
_WITHOUT_LSE = ("cudnn", "xla")
# Those that cannot run one pass alone, see `run_pass`.
WITHOUT_PASSES = ("cudnn", "reference", "xla")


def validate(
  q: Array | jax.ShapeDtypeStruct,
  k: Array | jax.ShapeDtypeStruct,
  v: Array | jax.ShapeDtypeStruct,
  key_length: ArrayLike | None,
  implementation: str,
) -> None:
  """Raises ValueError in one line when the arguments do not fit together."""
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f"attention implementation must be one of {', '.join(IMPLEMENTATIONS)};"
      f" found {implementation!r}; set model.attention to one of them"
    )
  if not q.ndim == k.ndim == v.ndim == 4 or k.shape != v.shape:
    raise ValueError(
      "attention needs q [B N K D] and k, v [B M K D]; found"
      f" {q.shape}, {k.shape} and {v.shape}"
    )
  if (q.shape[0], *q.shape[2:]) != (k.shape[0], *k.shape[2:]):
    raise ValueError(
      "attention needs the same batch, heads and width in queries and keys;"
      f" found {q.shape} and {k.shape}"
    )
  if 0 in (*q.shape[1:], k.shape[1]):
    raise ValueError(
      "attention needs one query, key, head and value at least; found"
      f" {q.shape} and {k.shape}"
    )
  floating = jnp.issubdtype(q.dtype, jnp.floating)
  if not (floating and q.dtype == k.dtype == v.dtype):
    raise ValueError(
      "attention needs q, k and v of one floating-point dtype; found"
      f" {q.dtype}, {k.dtype} and {v.dtype}"
    )
  if key_length is not None:
    validate_key_length(key_length, *k.shape[:2])
  reason = why_not(implementation, q.shape[-1], q.dtype, device_kind())
  if reason:
    raise ValueError(
      f"attention implementation {implementation!r} {reason}; use 'plain'"
    )


def validate_key_length(
  key_length: ArrayLike, batch: int, num_keys: int
) -> None:
  """Raises ValueError in one line unless there is a length for each sample.

  A traced length is known only when the program runs, which clips it. Pass a
  constant as a Python or NumPy value: jnp would trace it inside a program.
  """
  traced = isinstance(key_length, jax.core.Tracer)
  found = key_length if traced else np.asarray(key_length)
  whole = jnp.issubdtype(found.dtype, jnp.integer)
  if not whole or found.shape != (batch,):
    raise ValueError(
      f"attention needs integers key_length of shape {(batch,)}, one per"
      f" sample; found {found.dtype.name} {found.shape}"
    )
  if traced:
    return
  if found.min(initial=0) < 0 or found.max(initial=0) > num_keys:
    raise ValueError(
      f"attention needs key_length from 0 to {num_keys}, the number of keys;"
      f" found {found.tolist()}"
    )


def scale_or_default(
  scale: float | Float[Array, ""] | None, width: int
) -> float:
  """Returns the scale as a number; ValueError in one line unless it is one.

  Kernels take the maximum of products before they are scaled, so that it must
  be positive, and are compiled for one scale.
  """
  if scale is None:
    return width**-0.5
  if isinstance(scale, jax.core.Tracer):
    raise ValueError(
      "attention needs a scale that is known while tracing; found a traced"
      " one; multiply q by it and set scale=1"
    )
  if not 0 < scale < math.inf:
    raise ValueError(
      f"attention needs a scale that is positive and finite; found {scale}"
    )
  return float(scale)


def device_kind() -> str | None:
  """Kind of the devices of the mesh that is in force; None without a mesh.

  Kernels take their tiles by it, so that a program compiled for another
  machine than this one gets that machine's tiles.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.device_kind if device is not None else None


def why_not(
  implementation: str,
  width: int,
  dtype: jax.typing.DTypeLike,
  device_kind: str | None,
) -> str:
  """Returns why a named implementation cannot run, or an empty string.

  None stands for a device that is not known, which passes.
  """
  if implementation == "mosaic_tpu":
    return mosaic_tpu.unsupported(width, dtype, device_kind)
  if implementation == "mosaic_gpu":
    return mosaic_gpu.unsupported(width, dtype, device_kind)
  if implementation == "cudnn" and (device_kind or "").startswith(_NO_CUDA):
    return f"takes NVIDIA GPUs, not {device_kind}"
  return ""


def why_not_here() -> str:
  """Returns why the mesh in force keeps all kernels out, or an empty string."""
  mesh = jax.sharding.get_abstract_mesh()
  for name, size in mesh.shape.items():
    if size > 1 and name not in mesh.manual_axes:
      return f"must be inside shard_map over the mesh axis {name!r}"
  return ""


def why_no_kernel(width: int, dtype: jax.typing.DTypeLike) -> str:
  """Returns why "auto" passes over every kernel, or an empty string.

  A case that the TPU's kernels cannot take, the GPU's cannot take either.
  """
  return why_not_here() or mosaic_tpu.unsupported(width, dtype)


def why_no_gpu_kernel(width: int, dtype: jax.typing.DTypeLike) -> str:
  """Returns why "auto" passes over the GPU's kernel, or an empty string."""
  kind = device_kind()
  if kind is None:
    return "needs jax.set_mesh to know the GPU"
  return mosaic_gpu.unsupported(width, dtype, kind)


def choose(
  platform: str, width: int = 128, device_kind: str | None = None
) -> str:
  """Returns what "auto" runs in bfloat16 on a platform, for reports.

  That is for more than `FEW_KEYS` keys. `attention` itself leaves the question
  to the compiler.
  """
  if platform == "tpu" and not why_no_kernel(width, jnp.bfloat16):
    return "mosaic_tpu"
  known = platform in ("cuda", "gpu") and device_kind is not None
  if known and not mosaic_gpu.unsupported(width, jnp.bfloat16, device_kind):
    return "mosaic_gpu"
  return "plain"


def on_the_device(kind: str | None, *, cpu: str, gpu: str, tpu: str) -> str:
  """Logs what runs on a kind of device, or on all if the kind is unknown."""
  if kind is None:
    return f"{cpu} on CPU, {gpu} on GPU, {tpu} on TPU"
  other = tpu if kind.startswith("TPU") else gpu
  return f"{cpu if kind == 'cpu' else other} on {kind}"


@functools.cache
def _log_choice(kind: str | None, tpu_reason: str, gpu_reason: str) -> None:
  def choice(kernel, reason):
    return f"plain ({kernel} {reason})" if reason else kernel

  chosen = on_the_device(
    kind,
    cpu="plain (the fastest there, and linear in memory)",
    gpu=choice("mosaic_gpu", gpu_reason or tpu_reason),
    tpu=choice("mosaic_tpu", tpu_reason),
  )
  _log.info(
    "attention 'auto': %s; reference for at most %d keys, whose weights are"
    " small",
    chosen,
    FEW_KEYS,
  )


def resolve(
  implementation: str, width: int, dtype: jax.typing.DTypeLike
) -> str:
  """Replaces "auto" where the platform's kernel cannot run; logs the choice."""
  if implementation != "auto":
    return implementation
  reason = why_no_kernel(width, dtype)
  _log_choice(device_kind(), reason, why_no_gpu_kernel(width, dtype))
  return "plain" if reason else "auto"


def run_pass(
  implementation: str, pass_name: str, *args: Any, scale: float
) -> tuple[Array, ...]:
  """Runs "forward" or "backward" of a resolved implementation.

  The arguments are those of `plain.forward` and `plain.backward`, which
  all implementations take but those in `WITHOUT_PASSES`.

  `jax.default_backend()` would name the machine that compiles, which need not
  be the one that runs.
  """

  def of(room, **options):
    return functools.partial(getattr(room, pass_name), scale=scale, **options)

  kind = device_kind()
  fallback = of(plain)
  cpu = plain.apart(fallback)
  tpu = of(mosaic_tpu, tiles=mosaic_tpu.tiles_for(kind))
  gpu = of(mosaic_gpu, tiles=mosaic_gpu.tiles_for(kind or "9.0"))
  if implementation == "auto":
    q = jax.tree.leaves(args)[0]
    if why_no_gpu_kernel(q.shape[-1], q.dtype):
      gpu = fallback
    return jax.lax.platform_dependent(
      *args, cpu=cpu, cuda=gpu, tpu=tpu, default=fallback
    )
  if implementation == "plain":
    return jax.lax.platform_dependent(*args, cpu=cpu, default=fallback)
  named = {"mosaic_gpu": gpu, "mosaic_tpu": tpu}
  return named[implementation](*args)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _with_own_gradient(q, k, v, key_length, scale, implementation):
  return _forward(q, k, v, key_length, scale, implementation)[0]


def _forward(q, k, v, key_length, scale, implementation):
  inputs = q, k, v, key_length
  outputs = run_pass(implementation, "forward", *inputs, scale=scale)
  # Rematerialisation may keep them; the forward pass is not repeated then.
  outputs = ad_checkpoint.checkpoint_name(outputs, OUTPUTS)
  return outputs, (inputs, outputs)


def _backward(scale, implementation, residuals, cotangents):
  gradients = run_pass(
    implementation, "backward", *residuals, cotangents, scale=scale
  )
  return (*gradients, None)


_with_own_gradient.defvjp(_forward, _backward)


def varying_alike(*arrays: Array | None) -> list[Array | None]:
  """Inside shard_map, lets all vary over the mesh axes that any varies over.

  The transpose sums gradients over those axes, as it must for keys that
  devices with different queries share. Elsewhere returns the arrays.
  """

  def varying(x):
    return jax.typeof(x).manual_axis_type.varying

  axes = frozenset().union(*map(varying, jax.tree.leaves(arrays)))

  def alike(x):
    missing = tuple(axes - varying(x))
    return jax.lax.pcast(x, missing, to="varying") if missing else x

  return jax.tree.map(alike, list(arrays))


def _jax_nn(q, k, v, *, key_length, scale, implementation):
  """The attention of the compiler or of cuDNN, by way of jax.nn."""
  k, v = (reference.drop_masked(x, key_length) for x in (k, v))
  return jax.nn.dot_product_attention(
    q,
    k,
    v,
    scale=scale,
    key_value_seq_lengths=key_length,
    implementation=implementation,
  )


def attention(
  q: Float[Array, "B N K D"],
  k: Float[Array, "B M K D"],
  v: Float[Array, "B M K D"],
  *,
  key_length: Int[Array | np.ndarray, "B"] | None = None,
  scale: float | Float[Array, ""] | None = None,
  return_lse: bool = False,
  implementation: str = "auto",
) -> (
  Float[Array, "B N K D"]
  | tuple[Float[Array, "B N K D"], Float[Array, "B N K"]]
):
  """Softmax attention without dropout; softmax statistics in float32.

  Args:
    q: queries.
    k: keys, same number of heads.
    v: values.
    key_length: keys at or beyond this index take no part and may hold NaN. 0
      gives zeros and a log-sum-exp of minus infinity, but in `xla` and
      `cudnn`, where the result is then undefined. A length outside 0..M is
      an error where it is known while tracing; one that is traced cannot be
      looked at, and is clipped.
    scale: positive factor on the products of queries and keys, a constant;
      1/sqrt(D) by default.
    return_lse: also returns, per query, the logarithm of the sum of
      exponentials of its scaled logits (natural, float32), which is what
      merging attention over parts of the keys needs. Differentiable.
    implementation: one of `IMPLEMENTATIONS`; "auto" logs its choice. A named
      one that the platform cannot run is an error when it is lowered. Kernels,
      and so "auto", can be differentiated once. Where scaled logits reach
      1e5, the mosaic kernels' gradients are no longer right: they form weights
      from a log-sum-exp of 24 bits. Those of `plain` stay right.

  Raises:
    ValueError: for an unknown implementation, or arguments that do not fit
      together or to the implementation.
  """
  validate(q, k, v, key_length, implementation)
  scale = scale_or_default(scale, q.shape[-1])
  few_keys = implementation == "auto" and k.shape[1] <= FEW_KEYS
  resolved = resolve(implementation, q.shape[-1], q.dtype)
  implementation = "reference" if few_keys else resolved
  if key_length is not None:
    key_length = jnp.asarray(key_length, jnp.int32)
    key_length = jnp.clip(key_length, 0, k.shape[1])
  q, k, v, key_length = varying_alike(q, k, v, key_length)
  if implementation == "reference":
    run = reference.attention_and_lse
  elif implementation in _WITHOUT_LSE:
    if return_lse:
      raise ValueError(
        f"attention implementation {implementation!r} has no differentiable"
        " log-sum-exp; use 'auto', 'plain' or a mosaic kernel"
      )
    run = functools.partial(_jax_nn, implementation=implementation)
    return run(q, k, v, key_length=key_length, scale=scale)
  else:
    run = functools.partial(_with_own_gradient, implementation=implementation)
  outputs = run(q, k, v, key_length=key_length, scale=scale)
  return outputs if return_lse else outputs[0]
