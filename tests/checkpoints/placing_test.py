"""Arrays on devices have the values and the sharding that were asked for."""

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from more4d_jax import partitioning
from more4d_jax.checkpoints import placing

_MESH = partitioning.make_mesh(partitioning.MeshConfig(fsdp=2, tensor=4))


class _Counting:
  """An array that notes what is read of it."""

  def __init__(self, values, rows=1):
    self.values, self.shape, self.dtype = values, values.shape, values.dtype
    self.rows, self.read = rows, []

  def __getitem__(self, index):
    found = self.values[index]
    self.read.append(found.shape)
    return found


@pytest.mark.parametrize(
  "spec",
  [(), ("fsdp",), (None, "tensor"), ("tensor", "fsdp"), (("fsdp", "tensor"),)],
)
@pytest.mark.parametrize("pieces", [1, 8])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_every_sharding(monkeypatch, spec, pieces, dtype):
  values = np.random.default_rng(0).normal(size=(8, 12, 3)).astype(dtype)
  monkeypatch.setattr(placing, "_PIECE_BYTES", values.nbytes // pieces)
  array = _Counting(values)
  sharding = NamedSharding(_MESH, PartitionSpec(*spec))
  found = placing.put(array, sharding)
  assert found.sharding == sharding and found.dtype == dtype
  np.testing.assert_array_equal(np.asarray(found), values)
  # Shards that several devices hold are read once, and pieces are small.
  assert sum(map(np.prod, array.read)) == values.size
  assert max(map(np.prod, array.read)) <= values.size // pieces


def test_rows_that_are_stored_together_are_read_together(monkeypatch):
  monkeypatch.setattr(placing, "_PIECE_BYTES", 1)
  array = _Counting(np.arange(70.0, dtype=np.float32).reshape(7, 10), rows=3)
  found = placing.put(array, NamedSharding(_MESH, PartitionSpec()))
  np.testing.assert_array_equal(np.asarray(found), array.values)
  assert array.read == [(3, 10), (3, 10), (1, 10)]


def test_scalars_and_arrays_of_jax():
  sharding = NamedSharding(_MESH, PartitionSpec())
  for value in (np.float32(2.5), jax.numpy.arange(3)):
    found = placing.put(value, sharding)
    assert found.sharding == sharding
    np.testing.assert_array_equal(np.asarray(found), np.asarray(value))


@pytest.mark.parametrize("spec", [(), ("fsdp", "tensor")])
def test_arrays_in_the_hosts_memory(spec):
  values = np.arange(96, dtype=np.float32).reshape(8, 12)
  array = _Counting(values)
  sharding = NamedSharding(
    _MESH, PartitionSpec(*spec), memory_kind=partitioning.HOST_MEMORY
  )
  found = placing.put(array, sharding)
  assert found.sharding == sharding
  assert found.sharding.memory_kind == partitioning.HOST_MEMORY
  np.testing.assert_array_equal(np.asarray(found), values)
  assert sum(map(np.prod, array.read)) == values.size
