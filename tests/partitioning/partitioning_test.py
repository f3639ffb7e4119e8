"""Rule table, mesh and shardings on 8 virtual CPU devices."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from more4d_jax import partitioning

MESHES = [(8, 1, 1, 1), (1, 8, 1, 1), (2, 2, 2, 1), (1, 2, 2, 2)]


def _mesh(shape):
  return partitioning.make_mesh(partitioning.MeshConfig(*shape))


class _Net(nn.Module):
  width: int

  @nn.compact
  def __call__(self, x):  # [B N D]
    init = nn.initializers.lecun_normal()
    up = self.param(
      "up", partitioning.param(init, ("embed", "mlp")), (8, self.width)
    )
    down = self.param(
      "down", partitioning.param(init, ("mlp", "embed")), (self.width, 8)
    )
    x = partitioning.constrain(x, "batch", "tokens", "act_embed")
    h = partitioning.constrain(x @ up, "batch", "tokens", "act_mlp")
    return jnp.tanh(h) @ down


@pytest.mark.parametrize("shape", MESHES)
def test_sharded_value_equals_unsharded(shape):
  mesh, net = _mesh(shape), _Net(16)
  x = jax.random.normal(jax.random.key(1), (8, 6, 8))
  boxed = net.init(jax.random.key(0), x)
  expected = net.apply(partitioning.unbox(boxed), x)
  place = partitioning.shardings(mesh, jax.eval_shape(lambda: boxed))
  params = jax.device_put(partitioning.unbox(boxed), place)
  batch = jax.device_put(x, partitioning.batch_sharding(mesh))
  with jax.set_mesh(mesh):
    found = jax.jit(net.apply)(params, batch)
  np.testing.assert_allclose(found, expected, atol=1e-5)  # sum order


def test_rules_use_a_mesh_axis_once_and_only_where_it_divides():
  mesh = _mesh((1, 2, 2, 2))
  spec = partitioning.partition_spec
  assert spec(("embed", "mlp"), (8, 16), mesh) == PartitionSpec(
    ("fsdp",), ("tensor",)
  )
  assert spec(("embed", "embed"), (8, 8), mesh) == PartitionSpec(("fsdp",))
  assert spec(("embed", "mlp"), (7, 16), mesh) == PartitionSpec(
    None, ("tensor",)
  )
  with pytest.raises(ValueError, match="no rule"):
    spec(("colour",), (8,), mesh)


def test_what_the_mesh_does_not_divide_is_told():
  box = partitioning.param(jnp.zeros, ("embed", "mlp"))
  tree = {
    "good": box((8, 16)),
    "bad": {"kernel": box((7, 16)), "bias": jnp.zeros(7)},
  }
  mesh = _mesh((1, 2, 2, 2))
  assert partitioning.undivided(mesh, tree) == {"bad/kernel": (7, 16)}
  assert not partitioning.undivided(_mesh((8, 1, 1, 1)), tree)


@pytest.mark.parametrize(
  ("shape", "parts"), [((2, 2, 2, 1), 4), ((8, 1, 1, 1), 8), ((1, 1, 4, 2), 1)]
)
def test_rows_of_a_process_are_those_of_its_devices(shape, parts):
  # Other processes are what the mesh is like without some of its devices.
  mesh, batch = _mesh(shape), 2 * parts
  held = partitioning.batch_sharding(mesh).devices_indices_map((batch,))
  assert partitioning.batch_rows(mesh, batch) == tuple(range(batch))
  for device, (part,) in held.items():
    (place,) = np.argwhere(mesh.devices == device)
    number = place[0] * mesh.shape["fsdp"] + place[1]
    assert list(range(batch)[part]) == [2 * number, 2 * number + 1]


def test_minus_one_takes_the_rest_and_wrong_products_are_refused():
  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=2, data=-1))
  assert dict(mesh.shape) == {"data": 4, "fsdp": 2, "context": 1, "tensor": 1}
  with pytest.raises(ValueError, match="does not cover 8 devices"):
    _mesh((3, 1, 1, 1))


def test_bytes_per_device_counts_the_real_shards():
  mesh, net = _mesh((1, 2, 2, 2)), _Net(16)
  boxed = net.init(jax.random.key(0), jnp.zeros((2, 4, 8)))
  place = partitioning.shardings(mesh, boxed)
  params = jax.device_put(partitioning.unbox(boxed), place)
  held = sum(
    shard.data.nbytes
    for leaf in jax.tree.leaves(params)
    for shard in leaf.addressable_shards
    if shard.device == jax.devices()[0]
  )
  assert partitioning.bytes_per_device(mesh, boxed) == held


def test_map_shards_hands_out_parts_and_names_their_axes():
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(data=2, context=2, tensor=2)
  )
  x, scale = jnp.arange(72.0).reshape(4, 6, 3), jnp.arange(6.0)

  def centred(x, scale, nothing, axes):
    assert nothing is None and x.shape == ((2, 3, 3) if axes else (4, 6, 3))
    mean = x.mean(axis=1, keepdims=True)
    return scale[:, None] * (x - (jax.lax.pmean(mean, axes) if axes else mean))

  def run(x, scale):
    function = functools.partial(
      centred, axes=partitioning.mesh_axes("tokens", 6)
    )
    axes = [("batch", "tokens", "act_heads"), ("tokens",), ("batch",)]
    return partitioning.map_shards(function, axes, x, scale, None)

  wanted = run(x, scale)  # Without a mesh.
  with jax.set_mesh(mesh):
    np.testing.assert_allclose(jax.jit(run)(x, scale), wanted, atol=1e-5)
    assert partitioning.mesh_axes("tokens", 7) == ()
    assert partitioning.filling("tokens", 7) == 1
    assert partitioning.filling("batch", 6) == 0
  assert partitioning.filling("tokens", 7) == 0
