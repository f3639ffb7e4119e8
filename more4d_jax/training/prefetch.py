"""Batches onto the mesh ahead of time, each with the loader's position."""

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from more4d_jax import partitioning


@runtime_checkable
class Loader(Protocol):
  """What the loop needs of a data loader."""

  def __next__(self) -> Mapping[str, np.ndarray]:
    """Returns this process's part of the next global batch."""

  def get_state(self) -> dict[str, Any]:
    """Returns the position after the last batch, as JSON values."""

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position."""

  def close(self) -> None:
    """Stops background work."""


def to_mesh(
  batch: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, jax.Array]:
  """Places this process's part of a batch; together they are the global one.

  Args:
    batch: the rows `partitioning.batch_rows` of each array.
    mesh: the device mesh.
  """
  sharding = partitioning.batch_sharding(mesh)
  parts = mesh.shape["data"] * mesh.shape["fsdp"]
  held = partitioning.batch_rows(mesh, parts)

  def place(value: np.ndarray) -> jax.Array:
    each = len(value) // len(held)
    shape = (parts * each, *value.shape[1:])
    shards = []
    for device, index in sharding.addressable_devices_indices_map(
      shape
    ).items():
      first = held.index((index[0].start or 0) // each) * each
      shards.append(jax.device_put(value[first : first + each], device))
    return jax.make_array_from_single_device_arrays(shape, sharding, shards)

  return {name: place(value) for name, value in batch.items()}


class Prefetcher:
  """Reads and places batches in one thread, `depth` ahead of their use."""

  def __init__(self, loader: Loader, mesh: Mesh, depth: int = 2):
    """Starts reading at the loader's position."""
    self._loader, self._mesh = loader, mesh
    self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._fill, daemon=True)
    self._thread.start()

  def _put(self, item: Any) -> None:
    while not self._stopped.is_set():
      try:
        self._queue.put(item, timeout=0.1)
        break
      except queue.Full:
        continue

  def _fill(self) -> None:
    try:
      while not self._stopped.is_set():
        batch = next(self._loader)
        state = self._loader.get_state()
        self._put((to_mesh(batch, self._mesh), state))
    except BaseException as error:
      # The reader of the queue raises it.
      self._put(error)

  def __iter__(self) -> Iterator[tuple[dict[str, jax.Array], dict[str, Any]]]:
    """Returns itself."""
    return self

  def __next__(self) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """Returns a placed batch and the loader's position after it."""
    item = self._queue.get()
    if isinstance(item, BaseException):
      raise item
    return item

  def close(self) -> None:
    """Stops the thread and the loader."""
    self._stopped.set()
    self._thread.join(timeout=30)
    self._loader.close()
