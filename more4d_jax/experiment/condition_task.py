"""Tasks whose batches frozen networks make of records.

Latents and features are made once and kept in caches, or online, by the same
function in front of each step. The encoders of the trained network belong to
those networks unless they are trained along.
"""

import abc
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from more4d_jax import locations
from more4d_jax.checkpoints import dtypes, store
from more4d_jax.conditions import cache, features
from more4d_jax.data import loader
from more4d_jax.experiment import encoding, record_splits, run_config
from more4d_jax.experiment import task as tasks
from more4d_jax.sampling import networks

# What conditions are made for; also in the names of their caches.
_SETS = ("train", "held_out")


class ConditionTask(tasks.Task):
  """Training under what frozen networks say of records.

  Attributes:
    config: with the section `data` of `CachedDataConfig`.
  """

  config: run_config.FlowRunConfig

  @property
  def kept_dtype(self) -> Any:
    """The type of latents and features: no wider than the products'."""
    return jnp.float32 if self.config.dtype == "float32" else jnp.float16

  @abc.abstractmethod
  def films(self, records: loader.Source) -> loader.Source:
    """The items whose latents are kept, of records."""

  @abc.abstractmethod
  def prepared(
    self, opened: tasks.Opened, random_crop: bool = False
  ) -> loader.Transform:
    """Item -> arrays that `encoder` takes, without batch axis."""

  @abc.abstractmethod
  def encoding(self, opened: tasks.Opened) -> dict[str, store.Network]:
    """Networks that latents are made with, by kind."""

  @abc.abstractmethod
  def encode_latents(
    self, found: Mapping[str, networks.BoundModule], batch: Mapping[str, Any]
  ) -> dict[str, jax.Array]:
    """Latents of a batch by the networks of `encoding`; pure."""

  def _encode(self, opened: tasks.Opened, mesh: Mesh) -> cache.Encode:
    """Compiled: batch of `prepared` -> what the loss takes."""
    found, config = self.encoding(opened), self.network
    if self.outside:
      mine = store.Network(self.kind, config, opened.outside, {})
      found |= dtypes.cast({self.kind: mine}, self.config.dtype)
    empty_text = opened.tokenizer([""])[0]

    def encode(
      bound: Mapping[str, networks.BoundModule], batch: Mapping[str, Any]
    ) -> dict[str, jax.Array]:
      own = bound.get(self.kind)
      return {
        **self.encode_latents(bound, batch),
        **features.encode(config, own, self.outside, empty_text, batch),
      }

    return encoding.on_mesh(encode, found, mesh, self.kept_dtype)

  def encoder(self, opened: tasks.Opened, mesh: Mesh) -> cache.Encode | None:
    """None where what it would make is kept."""
    return None if self.cached else self._encode(opened, mesh)

  @property
  def cached(self) -> bool:
    """Whether conditions are made once and kept."""
    return self.config.data.conditions == "cached"

  @property
  def conditions(self) -> Mapping[str, Any]:
    """What the kept latents follow from besides, as JSON values."""
    return {}

  def with_cache(self, directory: str) -> "LatentTask":
    """The same task with its caches in a directory."""
    data = dataclasses.replace(self.config.data, cache=directory)
    return type(self)(dataclasses.replace(self.config, data=data))

  def prepare(self, opened: tasks.Opened) -> None:
    """Makes what is missing of the caches; each process its share."""
    if not self.cached:
      return
    share = (jax.process_index(), jax.process_count())
    self.make_caches(opened, share)
    if share[1] > 1:
      multihost_utils.sync_global_devices("caches")

  def make_caches(
    self, opened: tasks.Opened, share: tuple[int, int], check: bool = False
  ) -> list[cache.Made]:
    """Makes a share of what is missing of the caches.

    Args:
      opened: by `open`.
      share: number of this one among so many, see `conditions.cache.build`.
      check: see there.
    """
    mesh, made = encoding.local_mesh(), []

    @functools.cache
    def encoder() -> cache.Encode:
      return self._encode(opened, mesh)

    def encode(batch: Mapping[str, Any]) -> Mapping[str, jax.Array]:
      return encoder()(batch)  # Loads networks only if something is missing.

    # Clips of published sizes fill a device one by one.
    largest = 1 if self.variant.published else 8
    count = len(self._items(opened, "train").source)
    batch = mesh.size * min(largest, -(-count // mesh.size))
    for name in _SETS:
      items = self._items(opened, name)
      job = dataclasses.replace(self._job(opened, name), batch=batch)
      found = cache.build(
        job, items.source, items.transform, encode, share, check
      )
      made.append(found)
    return made

  def train_set(self, opened: tasks.Opened) -> tasks.DataSet:
    """Conditions of the training records."""
    return self._set(opened, "train")

  def held_out(self, opened: tasks.Opened) -> tasks.DataSet:
    """Conditions of the held-out records."""
    return self._set(opened, "held_out")

  def _records(self, opened: tasks.Opened, name: str) -> loader.Source:
    return opened.training if name == "train" else self.shown_records(opened)

  def _items(self, opened: tasks.Opened, name: str) -> tasks.DataSet:
    """What conditions are made of; only training chooses what to cut out."""
    data, train = self.config.data, name == "train"
    films = self.films(self._records(opened, name))
    return tasks.DataSet(
      cache.Repeated(films, data.variants if train else 1),
      self.prepared(opened, random_crop=train and data.random_crop),
    )

  def _set(self, opened: tasks.Opened, name: str) -> tasks.DataSet:
    """Kept conditions, or records that `encoder` makes them of."""
    if not self.cached:
      return self._items(opened, name)
    kept = cache.open_parts(self._job(opened, name))
    return tasks.DataSet(record_splits.Concatenated(kept), _as_it_is)

  def _job(self, opened: tasks.Opened, name: str) -> cache.CacheJob:
    """Where a cache lies and what it is made from."""
    data, count = self.config.data, len(self._records(opened, name))
    root = (
      locations.path(data.cache) if data.cache else opened.workdir / "cache"
    )
    shapes = {
      field: [leaf.shape, jnp.dtype(leaf.dtype).name]
      for field, leaf in self.example.items()
    }
    return cache.CacheJob(
      root=root,
      kind=f"{self.kind}-{name}",
      count=len(self._items(opened, name).source),
      threads=data.threads,
      fingerprint={
        "records": record_splits.facts(data, name, count),
        "fields": shapes,
        "random": [data.variants, data.random_crop],
        **self._encoders(opened),
        **opened.trained_on,
        **opened.tokenizer.facts,
        **self.size,
        **self.conditions,
      },
    )

  def _encoders(self, opened: tasks.Opened) -> dict[str, str]:
    """Name -> identity of the encoders that are not trained."""
    found = {}
    for name in self.outside:
      if opened.start is None or name not in opened.start.params:
        found[name] = f"initial values of seed {self.config.seed}"
        continue
      part = opened.start.parts.get(name, opened.start.metadata)
      found[name] = part["identity"]
    return found


def _as_it_is(item: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
  """Kept examples are ready."""
  return item
