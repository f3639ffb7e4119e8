"""Arguments, the choice of an implementation, and jax's transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.kernels.attention import cases, dispatch
from tests.kernels.attention import comparison

SHAPE = (2, 40, 24, 2, 64)
CPU = ("reference", "auto", "plain", "xla")  # What a CPU can run.


def loss(q, k, v, **options):
  out, lse = dispatch.attention(q, k, v, return_lse=True, **options)
  return jnp.sum(out.astype(jnp.float32) ** 2) + jnp.sum(lse**2)


@functools.cache
def value_and_gradients(implementation):
  q, k, v, *_ = comparison.draw(SHAPE, "float32")

  def squares(*x):
    out = dispatch.attention(
      *x, key_length=jnp.array((24, 7)), implementation=implementation
    )
    return jnp.sum(out**2)

  return jax.jit(jax.value_and_grad(squares, (0, 1, 2)))(q, k, v)


@pytest.mark.parametrize("implementation", CPU[1:])
def test_all_that_run_on_cpu_agree(implementation):
  found = jax.tree.leaves(value_and_gradients(implementation))
  wanted = jax.tree.leaves(value_and_gradients("reference"))
  for a, b in zip(found, wanted):
    # float32 sums in another order, squared.
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_inside_scan_with_rematerialisation_and_vmap():
  q, k, v, *_ = comparison.draw(SHAPE, "float32")

  def network(q, implementation):
    @jax.checkpoint
    def layer(x, _):
      x = dispatch.attention(x, k, v, implementation=implementation)
      return x, None

    return jnp.sum(jax.lax.scan(layer, q, length=2)[0] ** 2)

  found, wanted = (
    jax.jit(jax.grad(functools.partial(network, implementation=name)))(q)
    for name in ("plain", "reference")
  )
  np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())

  gradient = jax.grad(functools.partial(loss, implementation="plain"))
  lengths = jnp.array(((24, 7), (3, 1)))
  mapped = jax.jit(jax.vmap(lambda q, n: gradient(q, k, v, key_length=n)))(
    jnp.stack((q, 2 * q)), lengths
  )
  single = jax.jit(gradient)(2 * q, k, v, key_length=lengths[1])
  np.testing.assert_allclose(mapped[1], single, atol=1e-5)


def test_inside_shard_map_with_shared_keys():
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(data=2, context=2, tensor=2)
  )
  many = dispatch.FEW_KEYS + 8
  q, k, v, *_ = comparison.draw((2, 20, many, 4, 8), "float32")
  lengths = jnp.array((many, 5))
  rows = jax.sharding.PartitionSpec("data", "context", "tensor", None)
  shared = jax.sharding.PartitionSpec("data", None, "tensor", None)
  samples = jax.sharding.PartitionSpec("data")

  def attention(q, k, v, lengths):
    return dispatch.attention(q, k, v, key_length=lengths)

  sharded = jax.shard_map(
    attention,
    mesh=mesh,
    in_specs=(rows, shared, shared, samples),
    out_specs=rows,
  )

  def run(attention):
    def squares(q, k, v):
      return jnp.sum(attention(q, k, v, lengths) ** 2)

    return jax.jit(jax.grad(squares, (0, 1, 2)))(q, k, v)

  for found, wanted in zip(run(sharded), run(attention)):
    np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(
  "platform, tokens, kernel",
  [
    ("tpu", 300, True),
    ("tpu", dispatch.FEW_KEYS, False),
    ("cuda", 300, False),
    ("cpu", 300, False),
  ],
)
def test_auto_takes_the_platform_of_the_export(platform, tokens, kernel):
  like = jax.ShapeDtypeStruct((1, tokens, 2, 64), jnp.bfloat16)
  function = jax.jit(jax.grad(lambda q, k, v: loss(q, k, v), (0, 1, 2)))
  allowed = jax.export.DisabledSafetyCheck.custom_call("tpu_custom_call")
  exported = jax.export.export(
    function, platforms=[platform], disabled_checks=[allowed]
  )(like, like, like)
  module = exported.mlir_module()
  calls = module.count("stablehlo.custom_call @tpu_custom_call")
  assert calls == (2 if kernel else 0)


def test_auto_needs_shard_map_for_the_kernel_on_a_mesh():
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=8))
  spec = jax.sharding.PartitionSpec("data")
  like = jax.ShapeDtypeStruct((8, 128, 1, 64), jnp.bfloat16)
  inside = jax.shard_map(
    dispatch.attention, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec
  )
  with jax.set_mesh(mesh):
    for function, kernels in ((dispatch.attention, 0), (inside, 1)):
      traced = jax.jit(lambda *x, f=function: f(*x)).trace(like, like, like)
      text = traced.lower(lowering_platforms=("tpu",)).as_text()
      assert text.count("@tpu_custom_call") == kernels


@pytest.mark.parametrize("name", ("mosaic_gpu", "mosaic_tpu"))
def test_a_named_kernel_is_an_error_where_it_cannot_run(name):
  q, k, v, *_ = comparison.draw(SHAPE, "bfloat16")
  with pytest.raises(ValueError, match="interpret mode is supported on CPU"):
    dispatch.attention(q, k, v, implementation=name)


def test_the_mesh_names_the_gpu():
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=8))
  x = like(1, 8, 2, 64, dtype="bfloat16")
  with jax.set_mesh(mesh), pytest.raises(ValueError) as caught:
    dispatch.validate(x, x, x, None, "mosaic_gpu")
  assert "takes Hopper GPUs, not cpu; use 'plain'" in str(caught.value)
  dispatch.validate(x, x, x, None, "mosaic_gpu")


@pytest.mark.parametrize(
  "kind, chosen",
  [
    ("cpu", "plain (the fastest there, and linear in memory) on cpu;"),
    ("TPU v6 lite", "mosaic_tpu on TPU v6 lite;"),
    ("NVIDIA H200", "mosaic_gpu on NVIDIA H200;"),
    ("NVIDIA L4", "(mosaic_gpu takes Hopper GPUs, not NVIDIA L4) on NVIDIA L4"),
    (None, "(mosaic_gpu needs jax.set_mesh to know the GPU) on GPU"),
  ],
)
def test_auto_says_once_what_it_chose_and_why(kind, chosen, caplog):
  dispatch._log_choice.cache_clear()
  x = like(1, 99, 2, 64, dtype="bfloat16")
  device = kind and jax.sharding.AbstractDevice(
    device_kind=kind, num_cores=1, platform=kind
  )
  mesh = jax.sharding.AbstractMesh((1,), ("data",), abstract_device=device)
  with (
    jax.sharding.use_abstract_mesh(mesh),
    caplog.at_level("INFO", logger="more4d_jax"),
  ):
    for _ in range(2):
      jax.eval_shape(dispatch.attention, x, x, x)
  (line,) = [x.getMessage() for x in caplog.records]
  assert line.startswith("attention 'auto': ") and chosen in line


@pytest.mark.parametrize(
  "name, kind, reason",
  [
    ("mosaic_tpu", "cpu", "takes TPUs, not cpu"),
    ("mosaic_tpu", "TPU7x", ""),
    ("mosaic_gpu", "TPU7x", "takes Hopper GPUs, not TPU7x"),
    ("cudnn", "cpu", "takes NVIDIA GPUs, not cpu"),
    ("cudnn", "NVIDIA L4", ""),
    ("auto", "cpu", ""),
  ],
)
def test_why_not_on_a_device(name, kind, reason):
  assert dispatch.why_not(name, 64, jnp.bfloat16, kind) == reason


def test_choice_that_reports_name():
  assert dispatch.choose("tpu") == "mosaic_tpu"
  assert dispatch.choose("tpu", width=96) == "plain"
  assert dispatch.choose("cuda") == dispatch.choose("cpu") == "plain"
  h100, a100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
  assert dispatch.choose("gpu", device_kind=h100) == "mosaic_gpu"
  assert dispatch.choose("gpu", device_kind=a100) == "plain"
  assert dispatch.choose("gpu", width=96, device_kind=h100) == "plain"


def test_no_log_sum_exp_without_its_gradient():
  q, k, v, *_ = comparison.draw(SHAPE, "float32")
  with pytest.raises(ValueError, match="no differentiable log-sum-exp"):
    dispatch.attention(q, k, v, implementation="xla", return_lse=True)


def like(*shape, dtype="float32"):
  return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(
  "q, k, length, name, message",
  [
    (like(1, 8, 2, 64), like(1, 9, 3, 64), None, "auto", "same batch, heads"),
    (like(1, 8, 2, 64), like(1, 9, 2, 32), None, "auto", "same batch, heads"),
    (like(8, 2, 64), like(9, 2, 64), None, "auto", "found \\(8, 2, 64\\)"),
    (like(1, 8, 2, 64), like(1, 9, 2, 64), (10,), "auto", "0 to 9"),
    (like(1, 8, 2, 64), like(1, 9, 2, 64), (1, 2), "auto", "one per sample"),
    (like(1, 8, 2, 64), like(1, 9, 2, 64), None, "flash", "one of auto, "),
    (like(1, 8, 2, 96), like(1, 9, 2, 96), None, "mosaic_tpu", "not 96"),
    (
      like(1, 8, 2, 64, dtype="float16"),
      like(1, 9, 2, 64, dtype="float16"),
      None,
      "mosaic_tpu",
      "not float16",
    ),
    (like(1, 8, 2, 64), like(1, 9, 2, 64), None, "mosaic_gpu", "not float32"),
    (
      like(1, 8, 2, 96, dtype="bfloat16"),
      like(1, 9, 2, 96, dtype="bfloat16"),
      None,
      "mosaic_gpu",
      "not 96",
    ),
    (
      like(1, 8, 2, 64),
      like(1, 9, 2, 64, dtype="bfloat16"),
      None,
      "auto",
      "one floating-point dtype",
    ),
    (
      like(1, 8, 2, 64, dtype="int32"),
      like(1, 9, 2, 64, dtype="int32"),
      None,
      "auto",
      "found int32",
    ),
    (like(1, 0, 2, 64), like(1, 9, 2, 64), None, "auto", "one query, key"),
    (like(1, 8, 2, 64), like(1, 0, 2, 64), None, "auto", "one query, key"),
  ],
)
def test_bad_input_is_one_clear_error(q, k, length, name, message):
  if length is not None:
    length = jnp.array(length, jnp.int32)
  with pytest.raises(ValueError, match=message) as caught:
    dispatch.validate(q, k, k, length, name)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "options, message",
  [
    # Inside a program jnp would make a traced array of the constant.
    ({"key_length": np.array([3, 25])}, "0 to 24, .* found .3, 25"),
    ({"key_length": np.array([24, -1])}, "0 to 24"),
    ({"key_length": np.array([2**32, 3])}, "0 to 24"),
    ({"scale": 0.0}, "positive and finite; found 0.0"),
    ({"scale": -1.0}, "positive and finite; found -1.0"),
    ({"scale": float("nan")}, "positive and finite; found nan"),
  ],
)
@pytest.mark.parametrize("traced", (False, True))
def test_bad_constants_are_one_clear_error(traced, options, message):
  q, k, v, *_ = comparison.draw(SHAPE, "float32")
  attend = functools.partial(dispatch.attention, **options)
  with pytest.raises(ValueError, match=message) as caught:
    (jax.jit(attend) if traced else attend)(q, k, v)
  assert "\n" not in str(caught.value)


def test_lengths_of_halves_are_one_clear_error():
  with pytest.raises(ValueError, match=r"needs integers .* found float64"):
    dispatch.validate_key_length(np.array([2.5, 3.0]), 2, 24)


def test_a_traced_scale_is_one_clear_error():
  q, k, v, *_ = comparison.draw(SHAPE, "float32")
  with pytest.raises(ValueError, match="known while tracing") as caught:
    jax.jit(lambda s: dispatch.attention(q, k, v, scale=s))(0.5)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("implementation", CPU)
def test_traced_lengths_beyond_the_keys_mean_all(implementation):
  q, k, v, *_ = comparison.draw((1, 5, 7, 1, 8), "float32")
  attend = functools.partial(dispatch.attention, implementation=implementation)
  found = jax.jit(lambda n: attend(q, k, v, key_length=n))(jnp.array([9]))
  np.testing.assert_allclose(found, attend(q, k, v), atol=1e-6)


def test_cases_have_the_shapes_of_the_networks():
  whole = cases.CASES["14b/self/10304/whole"]
  assert (whole.queries, whole.keys, whole.heads) == (10_304, 10_304, 40)
  assert whole.flops() == 4 * 10_304**2 * 40 * 128
  assert cases.CASES["14b/text/9568/context8"].queries == 1_196
  assert cases.CASES["1p3b/self/9568/tensor4"].heads == 3
  assert "1p3b/self/9568/tensor8" not in cases.CASES
  small = cases.CASES["1p3b/image/9568/whole"].reduced()
  assert small.queries % 128 == 9_568 % 128 and small.keys == 257
  q, k, v, d_out = cases.inputs(small, jnp.bfloat16)
  assert q.shape == d_out.shape and k.shape == v.shape == (1, 257, 1, 128)
