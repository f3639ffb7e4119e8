"""Checks that an implementation gives the reference's values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.kernels.attention import reference

# Relative to the largest number of each output. float32 differs by the order
# of summation; bfloat16 weights and logit gradients are rounded to 8 bits.
TOLERANCE = {"float32": 2e-6, "bfloat16": 1e-2}
NAMES = ("out", "lse", "d_q", "d_k", "d_v")


def draw(shape, dtype, seed=0):
  """Returns q, k, v, the cotangents of both outputs; shape is B N M K D."""
  batch, queries, keys, heads, width = shape
  random = np.random.default_rng(seed)
  lengths = queries, keys, keys, queries
  arrays = [
    jnp.asarray(random.standard_normal((batch, n, heads, width)), dtype)
    for n in lengths
  ]
  d_lse = random.standard_normal((batch, queries, heads))
  return *arrays, jnp.asarray(d_lse, jnp.float32)


def gradients(module, arrays, key_length, **options):
  """Returns both outputs and three gradients of `module`'s two passes."""
  q, k, v, d_out, d_lse = arrays
  options["scale"] = q.shape[-1] ** -0.5

  @jax.jit
  def both(q, k, v, d_out, d_lse):
    outputs = module.forward(q, k, v, key_length, **options)
    inputs, cotangents = (q, k, v, key_length), (d_out, d_lse)
    return *outputs, *module.backward(inputs, outputs, cotangents, **options)

  return both(q, k, v, d_out, d_lse)


def reference_gradients(arrays, key_length, dtype=jnp.float32):
  """The same five by the reference and automatic differentiation."""
  q, k, v, d_out, d_lse = (x.astype(dtype) for x in arrays)

  @jax.jit
  def both(q, k, v, d_out, d_lse):
    outputs, vjp = jax.vjp(
      lambda *x: reference.attention_and_lse(
        *x, key_length=key_length, scale=q.shape[-1] ** -0.5
      ),
      q,
      k,
      v,
    )
    return *outputs, *vjp((d_out, d_lse))

  return both(q, k, v, d_out, d_lse)


def spoil_masked(arrays, key_length):
  """Writes NaN into every key and value that must take no part."""
  q, k, v, *cotangents = arrays
  masked = jnp.arange(k.shape[1])[None, :] >= key_length[:, None]
  k, v = (jnp.where(masked[..., None, None], jnp.nan, x) for x in (k, v))
  return q, k, v, *cotangents


def assert_close(found, wanted, tolerance):
  for name, *pair in zip(NAMES, found, wanted, strict=True):
    a, b = (np.asarray(x, np.float64) for x in pair)
    assert np.isfinite(a).all(), name
    error = np.abs(a - b).max() / np.abs(b).max()
    assert error <= tolerance, f"{name}: {error:.2e} > {tolerance:.0e}"


def check(module, arrays, key_length=None, **options):
  """Compares all five; masked keys and values hold NaN in `module` only."""
  if key_length is not None:
    key_length = jnp.asarray(key_length, jnp.int32)
  tolerance = options.pop("tolerance", TOLERANCE[arrays[0].dtype.name])
  wanted = reference_gradients(arrays, key_length)
  if key_length is not None:
    arrays = spoil_masked(arrays, key_length)
  found = gradients(module, arrays, key_length, **options)
  assert_close(found, wanted, tolerance)
