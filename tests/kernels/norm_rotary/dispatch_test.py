"""The entry: values and gradients, on a mesh, exported, and its refusals."""

import functools
import types

import hypothesis
import jax
import jax.numpy as jnp
import pytest
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from more4d_jax.kernels.attention import dispatch as attention
from more4d_jax.kernels.norm_rotary import dispatch, mosaic_tpu, reference
from tests.kernels.norm_rotary import comparison


def _gradients(arrays, num_heads, implementation):
  x, scale, angles, square, d_out = arrays
  own = (x, scale) if square is None else (x, scale, square)

  @jax.jit
  def both(own, d_out):
    def run(x, scale, square=None):
      return dispatch.norm_rotary(
        *(x, scale, angles, square),
        num_heads=num_heads,
        eps=comparison.EPS,
        implementation=implementation,
      )

    out, vjp = jax.vjp(run, *own)
    return out, *vjp(d_out)

  return both(own, d_out)


@pytest.mark.slow
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(st.data())
def test_random_shapes(data):
  draw = data.draw
  heads = draw(st.integers(1, 4))
  shape = (
    *(draw(st.integers(1, 3)), draw(st.integers(1, 40))),
    *(heads, 2 * draw(st.integers(1, 9))),
  )
  dtype = draw(st.sampled_from(("float32", "bfloat16")))
  arrays = comparison.draw(shape, dtype, given=draw(st.booleans()))
  found = _gradients(arrays, heads, draw(st.sampled_from(("auto", "plain"))))
  wanted = comparison.reference_gradients(arrays, heads)
  comparison.assert_close(found, wanted, comparison.TOLERANCE[dtype])
  assert found[0].dtype == found[1].dtype == jnp.dtype(dtype)


@pytest.fixture
def interpreted(monkeypatch):
  """Lets the name of the TPU kernel run it without one."""
  room = types.SimpleNamespace(
    **{
      name: functools.partial(getattr(mosaic_tpu, name), interpret=True)
      for name in ("forward", "backward")
    }
  )
  monkeypatch.setitem(dispatch._ROOMS, "mosaic_tpu", room)
  # The mesh would say that it is not of TPUs.
  monkeypatch.setattr(attention, "device_kind", lambda: None)


def _on_mesh(arrays, num_heads, implementation):
  """As `_gradients`, with tokens and heads divided over eight devices."""
  x, scale, angles, _, d_out = arrays
  mesh = jax.make_mesh(
    (2, 4), ("context", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )

  def body(x, scale, angles):
    square = jax.lax.pmean(reference.mean_square(x), "tensor")
    return dispatch.norm_rotary(
      *(x, scale, angles, square),
      num_heads=num_heads // 4,
      eps=comparison.EPS,
      implementation=implementation,
    )

  run = jax.shard_map(
    body,
    mesh=mesh,
    in_specs=(P(None, "context", "tensor"), P("tensor"), P("context")),
    out_specs=P(None, "context", "tensor"),
    # Interpreted, the kernel's own loops and memory carry no mesh axes. "auto"
    # traces the real one with the check on.
    check_vma=implementation != "mosaic_tpu",
  )

  @jax.jit
  def both(x, scale, d_out):
    out, vjp = jax.vjp(lambda x, scale: run(x, scale, angles), x, scale)
    return out, *vjp(d_out)

  return both(x, scale, d_out)


@pytest.mark.parametrize("implementation", ["auto", "mosaic_tpu"])
def test_heads_divided_over_devices(interpreted, implementation):
  arrays = comparison.draw((2, 12, 8, 64), "float32")
  found = _on_mesh(arrays, 8, implementation)
  wanted = comparison.reference_gradients(arrays, 8)
  comparison.assert_close(found, wanted, comparison.TOLERANCE["float32"])


def test_scan_rematerialisation_and_vmap():
  x, scale, angles, _, _ = comparison.draw((2, 6, 2, 8), "float32")
  scales = jnp.stack([scale, 2 * scale, scale + 1])

  def loss(x, scales, implementation):
    @jax.checkpoint
    def layer(x, scale):
      out = jax.vmap(
        lambda row: dispatch.norm_rotary(
          *(row[None], scale, angles),
          num_heads=2,
          eps=comparison.EPS,
          implementation=implementation,
        )[0]
      )(x)
      return x + out.reshape(x.shape), None

    return jnp.sum(jnp.sin(jax.lax.scan(layer, x, scales)[0]))

  found, wanted = (
    jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)(x, scales, name)
    for name in ("auto", "reference")
  )
  # Float32 rounding through three layers.
  comparison.assert_close(found, wanted, 1e-5)


@pytest.mark.parametrize(
  ("platform", "kernels"), [("tpu", True), ("cuda", False), ("cpu", False)]
)
def test_the_platform_decides_in_an_export(platform, kernels):
  x, scale, angles, _, _ = comparison.draw((1, 9, 2, 128), "bfloat16")

  def loss(x, scale):
    out = dispatch.norm_rotary(
      x, scale, angles, num_heads=2, eps=comparison.EPS
    )
    return jnp.sum(out.astype(jnp.float32))

  exported = jax.export.export(
    jax.jit(jax.grad(loss, (0, 1))),
    platforms=[platform],
    disabled_checks=[
      jax.export.DisabledSafetyCheck.custom_call("tpu_custom_call")
    ],
  )(x, scale)
  text = exported.mlir_module()
  assert ("norm_rotary_backward" in text) == kernels


def test_a_mesh_that_the_partitioner_divides_gets_no_kernel():
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    reason = attention.why_no_kernel(128, jnp.bfloat16)
  assert "inside shard_map over the mesh axis 'data'" in reason


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"implementation": "fast"}, "found 'fast'"),
    ({"implementation": "mosaic_tpu"}, "takes head widths 64 and 128, not 8"),
    ({"implementation": "mosaic_gpu"}, "takes head widths 64 and 128, not 8"),
    ({"num_heads": 3}, "3 heads of an even width"),
    ({"x": (2, 5, 15)}, "2 heads of an even width"),
    ({"scale": (3,)}, r"needs scale \(16,\)"),
    ({"angles": (5, 4)}, r"found \(16,\) and \(5, 4\)"),
    ({"square": (2, 4)}, r"square of shape \(2, 5\)"),
  ],
)
def test_mistakes_are_one_line(changes, words):
  values = {"x": (2, 5, 16), "scale": (16,), "angles": (5, 8)}
  values |= {"square": (2, 5), "num_heads": 2, "implementation": "auto"}
  values |= changes
  arrays = [
    jax.ShapeDtypeStruct(values[name], jnp.float32)
    for name in ("x", "scale", "angles", "square")
  ]
  options = dispatch.Options(
    values["num_heads"], comparison.EPS, values["implementation"]
  )
  with pytest.raises(ValueError, match=words) as caught:
    dispatch.validate(*arrays, options)
  assert "\n" not in str(caught.value)
