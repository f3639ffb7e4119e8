"""Checks that an implementation gives the reference's values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.kernels.norm_rotary import reference

EPS = 1e-6
# Relative to the largest number of each output. float32 differs by the order
# of summation; bfloat16 results are rounded to 8 bits.
TOLERANCE = {"float32": 2e-6, "bfloat16": 1e-2}
NAMES = ("out", "d_x", "d_scale", "d_square")


def draw(shape, dtype, *, given=False, seed=0):
  """Returns x, scale, angles, square and the output's cotangent.

  Args:
    shape: B N K D.
    dtype: of x.
    given: whether there is a mean of squares, as of rows with other heads.
    seed: of the draws.
  """
  batch, rows, heads, width = shape
  random = np.random.default_rng(seed)
  x = jnp.asarray(random.normal(size=(batch, rows, heads * width)), dtype)
  scale = jnp.asarray(random.normal(1, 0.3, heads * width), jnp.float32)
  turns = random.uniform(0, 7, (rows, width // 2))
  angles = np.concatenate([np.cos(turns), np.sin(turns)], -1)
  square = jnp.asarray(random.uniform(0.3, 2, (batch, rows)), jnp.float32)
  d_out = jnp.asarray(random.normal(size=shape), dtype)
  angles = jnp.asarray(angles, jnp.float32)
  return x, scale, angles, square if given else None, d_out


def _differentiated(function, arrays):
  """Value and gradients of x, scale and, if it is given, the square."""
  x, scale, angles, square, d_out = arrays
  own = (x, scale) if square is None else (x, scale, square)

  @jax.jit
  def both(own, d_out):
    def run(x, scale, square=None):
      return function(x, scale, angles, square)

    out, vjp = jax.vjp(run, *own)
    return out, *vjp(d_out)

  return both(own, d_out)


def reference_gradients(arrays, num_heads):
  """By the reference in float32 and automatic differentiation."""
  x, *rest, d_out = arrays
  arrays = (x.astype(jnp.float32), *rest, d_out.astype(jnp.float32))

  def function(*inputs):
    return reference.norm_rotary(*inputs, num_heads=num_heads, eps=EPS)

  return _differentiated(function, arrays)


def room_gradients(room, arrays, num_heads, **options):
  """The same by both passes of a room."""
  *inputs, d_out = arrays
  options |= {"num_heads": num_heads, "eps": EPS}

  @jax.jit
  def both(inputs, d_out):
    out = room.forward(inputs, **options)
    return out, *room.backward(inputs, d_out, **options)

  found = both(tuple(inputs), d_out)
  return found if inputs[3] is not None else found[:3]


def assert_close(found, wanted, tolerance):
  for name, *pair in zip(NAMES, found, wanted):
    a, b = (np.asarray(x, np.float64) for x in pair)
    assert a.shape == b.shape, name
    assert np.isfinite(a).all(), name
    error = np.abs(a - b).max() / np.abs(b).max()
    assert error <= tolerance, f"{name}: {error:.2e} > {tolerance:.0e}"
  assert len(found) == len(wanted)


def check(room, shape, dtype, *, given=False, seed=0, **options):
  """Compares value and gradients of a room with the reference's."""
  arrays = draw(shape, dtype, given=given, seed=seed)
  wanted = reference_gradients(arrays, shape[2])
  found = room_gradients(room, arrays, shape[2], **options)
  assert_close(found, wanted, TOLERANCE[dtype])
