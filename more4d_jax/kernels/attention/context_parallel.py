"""Attention whose tokens lie on several devices, for use inside `shard_map`.

`ulysses` trades tokens for heads, attends over all tokens with a part of the
heads, and trades back. `ring` keeps the queries and passes keys and values
round, one device at a time, merging what each part of the keys gives by its
log-sum-exp in float32; its backward pass goes round once more and keeps
nothing but queries, keys, values and results of the device.

Sources: DeepSpeed-Ulysses (arXiv 2309.14509); Ring Attention (2310.01889).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import ad_checkpoint
from jaxtyping import Array, Float, Int

from more4d_jax.kernels.attention import dispatch

FORMS = ("ring", "ulysses")


@dataclasses.dataclass(frozen=True)
class _Ring:
  """What the turns of a ring share.

  Attributes:
    axis: mesh axes over which the tokens are divided.
    implementation: what attends, not "auto" where a kernel cannot run.
    scale: factor on the products of queries and keys.
  """

  axis: tuple[str, ...]
  implementation: str
  scale: float

  @property
  def size(self) -> int:
    """Devices in the ring."""
    return jax.lax.axis_size(self.axis)

  def pass_on(self, arrays):
    """Sends arrays to the next device and receives the previous one's."""
    order = [(i, (i + 1) % self.size) for i in range(self.size)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axis, order), arrays)

  def lengths(self, key_length, turn, num_keys):
    """Number of valid keys among those here after a number of turns."""
    if key_length is None:
      return None
    owner = (jax.lax.axis_index(self.axis) - turn) % self.size
    return jnp.clip(key_length - owner * num_keys, 0, num_keys)

  def run(self, name, *arguments):
    """Runs one pass over the keys that are here."""
    return dispatch.run_pass(
      self.implementation, name, *arguments, scale=self.scale
    )


def _filled_like(x, shape, value):
  """A constant of x's precision, float32 at least, varying over its axes."""
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  axes = tuple(jax.typeof(x).manual_axis_type.varying)
  return jax.lax.pcast(jnp.full(shape, value, dtype), axes, to="varying")


def _merge(outputs, part):
  """Joins attention over two sets of keys, given as (out, lse) each."""
  (out, lse), (part_out, part_lse) = outputs, part
  top = jnp.maximum(lse, part_lse)
  top = jnp.where(jnp.isfinite(top), top, 0)  # No valid key in either.
  weight, part_weight = jnp.exp(lse - top), jnp.exp(part_lse - top)
  total = weight + part_weight
  inverse = 1 / jnp.where(total > 0, total, 1)
  out = out * (weight * inverse)[..., None]
  out += part_out.astype(out.dtype) * (part_weight * inverse)[..., None]
  return out, top + jnp.log(total)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _ring_attention(q, k, v, key_length, ring):
  return _ring_forward(q, k, v, key_length, ring)[0]


def _ring_forward(q, k, v, key_length, ring):
  num_keys = k.shape[1]

  def meet(turn, outputs, keys):
    lengths = ring.lengths(key_length, turn, num_keys)
    return _merge(outputs, ring.run("forward", q, *keys, lengths))

  def step(carry, turn):
    outputs, keys = carry
    following = ring.pass_on(keys)  # Travels while these keys are attended.
    return (meet(turn, outputs, keys), following), None

  nothing = (
    _filled_like(q, q.shape, 0),
    _filled_like(q, q.shape[:3], -jnp.inf),
  )
  last = ring.size - 1
  (outputs, keys), _ = jax.lax.scan(step, (nothing, (k, v)), jnp.arange(last))
  out, lse = meet(last, outputs, keys)
  outputs = out.astype(q.dtype), lse
  outputs = ad_checkpoint.checkpoint_name(outputs, dispatch.OUTPUTS)
  return outputs, ((q, k, v, key_length), outputs)


def _ring_backward(ring, residuals, cotangents):
  (q, k, v, key_length), outputs = residuals
  num_keys = k.shape[1]

  def meet(turn, d_q, keys, d_keys):
    # With the log-sum-exp over all keys, the weights that a pass forms again
    # are those of the whole softmax.
    lengths = ring.lengths(key_length, turn, num_keys)
    inputs = q, *keys, lengths
    part, *parts = ring.run("backward", inputs, outputs, cotangents)
    d_keys = [x + p.astype(x.dtype) for x, p in zip(d_keys, parts)]
    return d_q + part.astype(d_q.dtype), d_keys

  def step(carry, turn):
    d_q, keys, d_keys = carry
    following = ring.pass_on(keys)
    d_q, d_keys = meet(turn, d_q, keys, d_keys)
    return (d_q, following, ring.pass_on(d_keys)), None

  zeros = [_filled_like(x, x.shape, 0) for x in (q, k, v)]
  last = ring.size - 1
  (d_q, keys, d_keys), _ = jax.lax.scan(
    step, (zeros[0], (k, v), zeros[1:]), jnp.arange(last)
  )
  d_q, d_keys = meet(last, d_q, keys, d_keys)
  d_k, d_v = ring.pass_on(d_keys)  # Back to the device that holds the keys.
  return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype), None


_ring_attention.defvjp(_ring_forward, _ring_backward)


def _ulysses_attention(q, k, v, key_length, *, axis, **options):
  def by_heads(x):
    return jax.lax.all_to_all(x, axis, 2, 1, tiled=True)

  def by_tokens(x):
    return jax.lax.all_to_all(x, axis, 1, 2, tiled=True)

  outputs = dispatch.attention(
    *map(by_heads, (q, k, v)),
    key_length=key_length,
    return_lse=options.pop("return_lse"),
    **options,
  )
  return jax.tree.map(by_tokens, outputs)


def why_not(form: str, implementation: str, heads: int, ways: int) -> str:
  """Returns why a form cannot run, or an empty string.

  Args:
    form: one of `FORMS`.
    implementation: see `attention`.
    heads: on each device.
    ways: devices that divide the tokens.
  """
  if form == "ulysses" and heads % ways:
    return (
      f"ulysses attention divides the heads of a device by {ways}, the devices"
      f" that divide the tokens; found {heads} heads; set"
      " model.context_attention to ring"
    )
  if form == "ring" and implementation in dispatch.WITHOUT_PASSES:
    return (
      f"ring attention cannot use the implementation {implementation!r}, which"
      " has no passes of its own; set model.attention to auto or plain, or"
      " model.context_attention to ulysses"
    )
  return ""


def _validate(q, k, v, key_length, form, ways):
  if form not in FORMS:
    raise ValueError(
      f"attention over a context axis must be one of {', '.join(FORMS)}; found"
      f" {form!r}; set model.context_attention to one of them"
    )
  if q.shape[1] != k.shape[1]:
    raise ValueError(
      "attention over a context axis needs as many queries as keys on each"
      f" device; found {q.shape[1]} and {k.shape[1]}"
    )
  if key_length is not None:
    dispatch.validate_key_length(key_length, k.shape[0], ways * k.shape[1])


def attention(
  q: Float[Array, "B n K D"],
  k: Float[Array, "B m K D"],
  v: Float[Array, "B m K D"],
  *,
  axis: tuple[str, ...],
  form: str = "ring",
  key_length: Int[Array | np.ndarray, "B"] | None = None,
  scale: float | None = None,
  return_lse: bool = False,
  implementation: str = "auto",
) -> (
  Float[Array, "B n K D"]
  | tuple[Float[Array, "B n K D"], Float[Array, "B n K"]]
):
  """Self-attention over the tokens of all devices along `axis`.

  Every device holds n tokens; device i those from i * n on. Where that is
  more than there are, the caller fills up the end with finite numbers and
  says so by `key_length`; the results there are to be left out.

  Args:
    q: queries of this device.
    k: keys of this device, m = n of them.
    v: values of this device.
    axis: names of the mesh axes, manual here, that divide the tokens.
    form: one of `FORMS`. `ulysses` wants heads that the devices divide.
    key_length: among the tokens of all devices, keys at or beyond this index
      take no part and may hold NaN. The same on every device along `axis`.
    scale: positive factor on the products of queries and keys, a constant;
      1/sqrt(D) by default.
    return_lse: as in `dispatch.attention`; a further cotangent flows from it.
    implementation: as in `dispatch.attention`; `ring` takes those that have
      passes of their own, which return the log-sum-exp.

  Raises:
    ValueError: for arguments that do not fit together or to the form.
  """
  dispatch.validate(q, k, v, None, implementation)
  ways = jax.lax.axis_size(axis)
  _validate(q, k, v, key_length, form, ways)
  reason = why_not(form, implementation, q.shape[2], ways)
  if reason:
    raise ValueError(reason)
  if key_length is not None:
    key_length = jnp.asarray(key_length, jnp.int32)
  scale = dispatch.scale_or_default(scale, q.shape[-1])
  if form == "ulysses":
    return _ulysses_attention(
      q,
      k,
      v,
      key_length,
      axis=axis,
      scale=scale,
      return_lse=return_lse,
      implementation=implementation,
    )
  implementation = dispatch.resolve(implementation, q.shape[-1], q.dtype)
  ring = _Ring(axis, implementation, scale)
  q, k, v, key_length = dispatch.varying_alike(q, k, v, key_length)
  outputs = _ring_attention(q, k, v, key_length, ring)
  return outputs if return_lse else outputs[0]
