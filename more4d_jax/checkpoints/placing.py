"""Parameters brought to devices, a piece of an array at a time.

An array may be NumPy's, jax's, or one that is read from disk where it is
indexed (`stored_arrays.StoredArray`): each is indexed for what a device holds
of it, so that the host never holds more than a piece beside what it places.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from more4d_jax import partitioning
from more4d_jax.name_maps import matching

# A parameter's path, shape and type -> where it lies.
Place = Callable[[str, tuple[int, ...], np.dtype], jax.sharding.Sharding]

_PIECE_BYTES = 16 << 20

# First and last position, the latter excluded, along each axis.
_Bounds = tuple[tuple[int, int], ...]


def on_default_device(
  path: str, shape: tuple[int, ...], dtype: np.dtype
) -> jax.sharding.Sharding:
  """Places everything whole on the device that is used by default."""
  del path, shape, dtype
  return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def put(array: Any, sharding: jax.sharding.Sharding) -> jax.Array:
  """Brings an array to devices; each gets its shard, which is read once.

  Args:
    array: what has a shape and a dtype and can be indexed with slices.
    sharding: of the result.
  """
  if isinstance(array, jax.Array):
    return jax.device_put(array, sharding)
  shape = tuple(array.shape)
  shards: dict[_Bounds, list[jax.Device]] = {}
  for device, index in sharding.addressable_devices_indices_map(shape).items():
    bounds = tuple(part.indices(size)[:2] for part, size in zip(index, shape))
    shards.setdefault(bounds, []).append(device)
  found = []
  put_shard = _put_shard
  if sharding.memory_kind == partitioning.HOST_MEMORY:
    put_shard = _put_shard_on_host
  for bounds, devices in shards.items():
    found += put_shard(array, bounds, devices)
  dtype = jax.dtypes.canonicalize_dtype(array.dtype)
  return jax.make_array_from_single_device_arrays(
    shape, sharding, found, dtype=dtype
  )


def put_tree(
  params: Mapping[str, Any], place: Place = on_default_device
) -> dict[str, Any]:
  """Brings all parameters of a nested dict to devices."""
  flat = matching.flatten(params)
  return matching.unflatten(
    {
      path: put(array, place(path, tuple(array.shape), array.dtype))
      for path, array in flat.items()
    }
  )


def pieces(array: Any) -> Iterator[np.ndarray]:
  """Goes through an array's values in order, some rows at a time.

  Args:
    array: NumPy's, one on disk, or jax's, which may lie on devices of several
      processes: all of them go through it together then.
  """
  rows = array.shape[0] if array.shape else 1
  step = max(1, rows * _PIECE_BYTES // max(array.nbytes, 1))
  if step >= rows:
    yield np.asarray(partitioning.fetch(array))
    return
  for start in range(0, rows, step):
    count = min(step, rows - start)
    if isinstance(array, jax.Array):
      yield partitioning.fetch(_rows(array, start, count=count))
    else:
      yield np.asarray(array[start : start + count])


@functools.partial(jax.jit, static_argnames="count")
def _rows(
  array: Shaped[Array, "N ..."], start: Int[Array, ""] | int, *, count: int
) -> Shaped[Array, "n ..."]:
  return jax.lax.dynamic_slice_in_dim(array, start, count)


def _put_shard(
  array: Any, bounds: _Bounds, devices: Sequence[jax.Device]
) -> list[jax.Array]:
  """One shard on all devices that hold it."""
  lengths = [stop - start for start, stop in bounds]
  size = math.prod(lengths) * np.dtype(array.dtype).itemsize
  rows = lengths[0] if lengths else 1
  together = getattr(array, "rows", 1)
  fitting = rows * _PIECE_BYTES // max(size, 1)
  step = max(fitting // together, 1) * together
  if step >= rows:
    whole = np.asarray(array[tuple(slice(*part) for part in bounds)])
    return [jax.device_put(whole, device) for device in devices]
  dtype = jax.dtypes.canonicalize_dtype(array.dtype)
  shards = [jnp.zeros(lengths, dtype, device=d) for d in devices]
  inner = tuple(slice(*part) for part in bounds[1:])
  first, last = bounds[0]
  for start in range(first, last, step):
    piece = np.asarray(array[slice(start, min(start + step, last)), *inner])
    for i, device in enumerate(devices):
      moved = jax.device_put(piece, device)
      # Waiting keeps the host from running ahead with piece upon piece.
      shards[i] = _with_rows(shards[i], moved, start - first)
      shards[i].block_until_ready()
  return shards


def _put_shard_on_host(
  array: Any, bounds: _Bounds, devices: Sequence[jax.Device]
) -> list[jax.Array]:
  """One shard in the host's memory, for all devices that read it there.

  Programs do not work there, so that it is brought there in one piece.
  """
  whole = np.asarray(array[tuple(slice(*part) for part in bounds)])
  memory = partitioning.HOST_MEMORY
  return [
    jax.device_put(
      whole, jax.sharding.SingleDeviceSharding(device, memory_kind=memory)
    )
    for device in devices
  ]


@functools.partial(jax.jit, donate_argnums=0)
def _with_rows(
  array: Shaped[Array, "N ..."],
  rows: Shaped[Array, "n ..."],
  start: Int[Array, ""],
) -> Shaped[Array, "N ..."]:
  """The array with other rows from `start` on, in the array's own memory."""
  return jax.lax.dynamic_update_slice_in_dim(array, rows, start, axis=0)
