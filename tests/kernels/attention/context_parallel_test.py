"""Attention over tokens on several devices against the reference on one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.kernels.attention import context_parallel, reference
from tests.kernels.attention import comparison

SPEC = jax.sharding.PartitionSpec
AXIS = ("context",)


def sharded(mesh, form, filling, key_length, **options):
  """A function of whole arrays; fills the tokens up with `filling` rows."""

  def local(q, k, v, key_length):
    return context_parallel.attention(
      q, k, v, axis=AXIS, form=form, key_length=key_length, **options
    )

  rows = SPEC("data", "context", "tensor")
  mapped = jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(rows, rows, rows, SPEC("data")),
    out_specs=(rows, rows) if options.get("return_lse") else rows,
  )

  def whole(q, k, v):
    rows = ((0, 0), (0, filling), (0, 0), (0, 0))
    out = mapped(*(jnp.pad(x, rows) for x in (q, k, v)), key_length)
    return jax.tree.map(lambda x: x[:, : q.shape[1]], out)

  return whole


def outputs_and_gradients(function, arrays):
  q, k, v, *cotangents = arrays

  @jax.jit
  def run(q, k, v):
    outputs, vjp = jax.vjp(function, q, k, v)
    return *outputs, *vjp(tuple(cotangents))

  return run(q, k, v)


# Tokens, what fills them up, valid keys per sample, mesh, dtype. One device
# may hold nothing but masked keys, or its last key may be the last valid one.
CASES = {
  "eight": ((1, 43, 8), 5, (43,), (1, 1, 8, 1), "float32"),
  "heads too": ((2, 37, 8), 3, (37, 9), (1, 1, 4, 2), "float32"),
  "no mask": ((2, 36, 4), 0, None, (2, 1, 4, 1), "float32"),
  "half": ((1, 130, 4), 2, (66,), (1, 1, 2, 2), "bfloat16"),
  "none valid": ((2, 16, 4), 0, (0, 4), (2, 1, 4, 1), "float32"),
}


@pytest.mark.parametrize("form", context_parallel.FORMS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, form):
  (batch, tokens, heads), filling, lengths, sizes, dtype = CASES[case]
  count = int(np.prod(sizes))
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(*sizes), jax.devices()[:count]
  )
  arrays = comparison.draw((batch, tokens, tokens, heads, 8), dtype)
  key_length = None if lengths is None else jnp.array(lengths, jnp.int32)
  found = outputs_and_gradients(
    sharded(mesh, form, filling, key_length, return_lse=True),
    arrays
    if key_length is None
    else comparison.spoil_masked(arrays, key_length),
  )
  wanted = comparison.reference_gradients(arrays, key_length)
  if case == "none valid":  # Its log-sum-exp is minus infinity in both.
    assert np.isneginf(found[1][0]).all() and np.isneginf(wanted[1][0]).all()
    found, wanted = ([x[1:] for x in y] for y in (found, wanted))
  comparison.assert_close(found, wanted, comparison.TOLERANCE[dtype])


def ring_of(devices):
  return partitioning.make_mesh(
    partitioning.MeshConfig(context=devices), jax.devices()[:devices]
  )


def compiled_gradient(form, devices=8, tokens=8):
  """Compiled gradients for so many tokens per device."""
  attend = sharded(ring_of(devices), form, 0, None)
  shape = (1, devices * tokens, 8, 16)
  like = jax.ShapeDtypeStruct(shape, jnp.float32)
  gradient = jax.grad(lambda *x: jnp.sum(attend(*x) ** 2), (0, 1, 2))
  place = jax.NamedSharding(ring_of(devices), SPEC(None, "context"))
  jitted = jax.jit(gradient, in_shardings=place, out_shardings=place)
  return jitted.lower(like, like, like).compile()


@pytest.mark.parametrize(
  "form, kind", [("ring", "collective-permute"), ("ulysses", "all-to-all")]
)
def test_each_form_moves_data_its_own_way_only(form, kind):
  collective = r" (all-\w+(?:-\w+)*|collective-\w+|reduce-scatter)(?:-start)?\("
  kinds = set(re.findall(collective, compiled_gradient(form).as_text()))
  assert kinds == {kind}


def test_memory_of_a_ring_does_not_grow_with_its_devices():
  """Nothing is kept of the keys and values that come by."""
  four, eight = (
    compiled_gradient("ring", devices, 512).memory_analysis()
    for devices in (4, 8)
  )
  # Four more pairs would be 2 MiB more, an eighth.
  assert eight.temp_size_in_bytes < 1.02 * four.temp_size_in_bytes


def test_inside_scan_with_rematerialisation():
  q, k, v, *_ = comparison.draw((1, 16, 16, 8, 8), "float32")
  ring = sharded(ring_of(8), "ring", 0, None)

  def plain(*x):
    return reference.attention(*x, scale=8**-0.5)

  def network(attend, q):
    @jax.checkpoint
    def layer(x, _):
      return attend(x, k, v), None

    return jnp.sum(jax.lax.scan(layer, q, length=2)[0] ** 2)

  found, wanted = (
    jax.jit(jax.grad(functools.partial(network, attend)))(q)
    for attend in (ring, plain)
  )
  np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(
  "shape, options, message",
  [
    ((1, 16, 8, 8), {"form": "rings"}, "one of ring, ulysses; found 'rings'"),
    ((1, 16, 6, 8), {"form": "ulysses"}, "found 6 heads; .* to ring"),
    ((1, 16, 8, 8), {"implementation": "xla"}, "has no passes of its own"),
    ((1, 16, 8, 8), {"implementation": "flash"}, "one of auto, "),
    ((1, 16, 8, 8), {"implementation": "mosaic_tpu"}, "not 8"),
    ((1, 16, 8, 8), {"key_length": (17,)}, "from 0 to 16"),
  ],
)
def test_bad_input_is_one_clear_error(shape, options, message):
  spec = SPEC(None, "context")
  if "key_length" in options:
    options["key_length"] = jnp.array(options["key_length"])
  attend = functools.partial(context_parallel.attention, axis=AXIS, **options)
  mapped = jax.shard_map(
    attend, mesh=ring_of(8), in_specs=(spec,) * 3, out_specs=spec
  )
  like = jax.ShapeDtypeStruct(shape, jnp.float32)
  with pytest.raises(ValueError, match=message) as caught:
    jax.eval_shape(mapped, like, like, like)
  assert "\n" not in str(caught.value)


def test_other_keys_than_queries_are_an_error():
  spec = SPEC(None, "context")
  mapped = jax.shard_map(
    functools.partial(context_parallel.attention, axis=AXIS),
    mesh=ring_of(8),
    in_specs=(spec,) * 3,
    out_specs=spec,
  )
  q, k = (jax.ShapeDtypeStruct((1, n, 1, 8), jnp.float32) for n in (16, 24))
  with pytest.raises(ValueError, match="as many queries as keys"):
    jax.eval_shape(mapped, q, k, k)
