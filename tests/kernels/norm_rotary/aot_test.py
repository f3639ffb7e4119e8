"""Compiles norm and rotation for real accelerators (`make test-aot`)."""

import jax
import jax.numpy as jnp
import pytest

from more4d_jax.kernels.norm_rotary import dispatch
from tests.kernels import aot

_HEAD_DIM = 128


def _compiled(device, tokens, heads, *, given=False, gradient=True):
  """The program of one pass over [1 N W] in bfloat16."""
  width = heads * _HEAD_DIM

  def run(x, scale, angles, square=None):
    out = dispatch.norm_rotary(
      x, scale, angles, square, num_heads=heads, eps=1e-6
    )
    return jnp.swapaxes(out, 1, 2)  # As the attention kernel reads it.

  def pull(d_out, *inputs):
    own = (inputs[0], inputs[1], *inputs[3:])
    _, vjp = jax.vjp(lambda x, s, *q: run(x, s, inputs[2], *q), *own)
    return vjp(d_out)

  like = jax.ShapeDtypeStruct
  arrays = [
    like((1, tokens, width), jnp.bfloat16),
    like((width,), jnp.float32),
    like((tokens, _HEAD_DIM), jnp.float32),
    *([like((1, tokens), jnp.float32)] if given else []),
  ]
  if not gradient:
    return aot.compile_for(device, run, *arrays)
  d_out = like((1, heads, tokens, _HEAD_DIM), jnp.bfloat16)
  return aot.compile_for(device, pull, d_out, *arrays)


def _tensors_moved(compiled, tokens, heads):
  """Bytes accessed, as multiples of the tensor's own."""
  size = tokens * heads * _HEAD_DIM * 2
  return compiled.cost_analysis()["bytes accessed"] / size


@pytest.mark.parametrize(("tokens", "heads"), [(9568, 12), (10304, 40)])
def test_each_value_is_read_and_written_once(tpu_device, tokens, heads):
  forward = _compiled(tpu_device, tokens, heads, gradient=False)
  assert "norm_rotary_forward" in forward.as_text()
  # Once in and once out, and 512 bytes of angles per row.
  assert _tensors_moved(forward, tokens, heads) < 2.5
  backward = _compiled(tpu_device, tokens, heads)
  assert "norm_rotary_backward" in backward.as_text()
  assert _tensors_moved(backward, tokens, heads) < 3.5


def test_a_part_of_the_heads_compiles(tpu_device):
  compiled = _compiled(tpu_device, 10304, 3, given=True)
  assert "norm_rotary_backward" in compiled.as_text()


def test_a_gpu_gets_a_program_of_its_own(hopper_device):
  compiled = _compiled(hopper_device, 9568, 12)
  assert "tpu_custom_call" not in compiled.as_text()
