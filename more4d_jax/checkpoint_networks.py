"""The networks of one checkpoint, on the device and with their settings."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, SingleDeviceSharding
from jaxtyping import Int

from more4d_jax import errors, partitioning, registry
from more4d_jax.checkpoints import placing, residency, store
from more4d_jax.geometry import motion
from more4d_jax.models import abstract, latent_stats
from more4d_jax.models.encoders import tokenizer
from more4d_jax.name_maps import matching
from more4d_jax.sampling import (
  caching,
  denoising,
  longer_clips,
  networks,
  original_conditions,
  sample_strag,
  sample_vism,
  sampler_options,
)

CONDITIONS = ("trained", "original")


class CheckpointNetworks:
  """Networks by kind; parts of them are on devices from `bound` to `release`.

  Attributes:
    name: of the checkpoint, for messages and the metadata of scenes.
    residency: what is on devices.
    mesh: these devices.
  """

  def __init__(
    self,
    found: Mapping[str, store.Network],
    name: str = "checkpoint",
    overrides: Mapping[str, Any] | None = None,
    conditions: str = "trained",
    frames: int | None = None,
    mesh: Mesh | None = None,
    offload: bool = False,
  ):
    """Keeps the networks.

    Args:
      found: networks by kind; `checkpoints.store.open_bundle` opens them.
      name: of the checkpoint, for messages and the metadata of scenes.
      overrides: sampler settings that differ from the checkpoint's: name of a
        field of `sampler_options.SamplerConfig` -> value.
      conditions: "trained" as the checkpoint says, or "original", see
        `original_conditions.PRESET`.
      frames: of the scenes, other than those of training; see `longer_clips`.
      mesh: devices for the networks; the default device when left out.
      offload: whether layers lie in the host's memory, from where programs
        bring them to devices one after the other.

    Raises:
      UserError: if there are no clips of so many frames.
    """
    self.name = name
    self._found = dict(found)
    self._overrides = dict(overrides or {})
    networks.check_choice("conditions", conditions, CONDITIONS)
    self._original = conditions == "original"
    self._frames = None if frames is None else longer_clips.check(frames)
    self.residency = residency.Residency(self._found)
    self.mesh = mesh or partitioning.one_device()
    self._offload = offload
    self._boxed: dict[str, Mapping[str, Any]] = {}

  def has(self, kind: str) -> bool:
    """Whether the checkpoint holds a network of a kind."""
    return kind in self._found

  def network(self, kind: str) -> store.Network:
    """One network as it was stored.

    Raises:
      UserError: if the checkpoint has none of this kind.
    """
    if kind not in self._found:
      raise errors.UserError(
        f"expected a {kind} network in {self.name}, found "
        f"{', '.join(self._found) or 'none'}: train it and bundle it with the "
        "others"
      )
    return self._found[kind]

  @property
  def loras(self) -> dict[str, list[dict[str, Any]]]:
    """What LoRA files were merged into each network that was changed.

    For each file its name, weight and the number of changed modules.
    """
    return {
      kind: network.metadata["loras"]
      for kind, network in self._found.items()
      if "loras" in network.metadata
    }

  def bound(
    self,
    kind: str,
    parts: Sequence[str] | None = None,
    place: placing.Place | None = None,
  ) -> networks.BoundModule:
    """One network's module with weights on devices.

    Args:
      kind: of the network.
      parts: those whose weights are needed, see `registry`; all when left out.
        Methods that need others fail.
      place: where each parameter lies; on the mesh, divided by the names of
        its axes, or in the memory of its host, when left out.
    """
    network = self.network(kind)
    module = registry.NETWORKS[kind].module_class(network.config)
    stats = network.metadata.get("latent_stats")
    return networks.BoundModule(
      params=self.residency.params(
        kind, parts, place or self._place_of(kind, module)
      ),
      module=module,
      stats=stats and latent_stats.LatentStats.from_json(stats),
    )

  def _place_of(self, kind: str, module: nn.Module) -> placing.Place:
    """Where each parameter of a network lies."""
    place = self._place_on_devices(kind, module)
    if not self._offload:
      return place

    def waiting(
      path: str, shape: tuple[int, ...], dtype: np.dtype
    ) -> jax.sharding.Sharding:
      sharding = place(path, shape, dtype)
      if not abstract.is_layers(path):
        return sharding
      return sharding.with_memory_kind(partitioning.HOST_MEMORY)

    return waiting

  def _place_on_devices(self, kind: str, module: nn.Module) -> placing.Place:
    """Where the mesh has each parameter of a network."""
    if self.mesh.size == 1:
      only = SingleDeviceSharding(self.mesh.devices.item())
      return lambda path, shape, dtype: only
    boxed = self.boxed(kind)
    return lambda path, shape, dtype: abstract.sharding(
      path, shape, boxed, self.mesh
    )

  def boxed(self, kind: str) -> Mapping[str, Any]:
    """Path -> a parameter's shape, boxed with the names of its axes."""
    if kind not in self._boxed:
      module = registry.NETWORKS[kind].module_class(self.network(kind).config)
      shapes = abstract.boxed_shapes(kind, module)
      self._boxed[kind] = matching.flatten(shapes)
    return self._boxed[kind]

  def weight_bytes(self, kind: str, parts: Sequence[str]) -> int:
    """Bytes that some parts of a network take of each device."""
    network, row = self.network(kind), registry.NETWORKS[kind]
    place = self._place_of(kind, row.module_class(network.config))
    found = 0
    for path, leaf in matching.flatten(network.params).items():
      if row.part_of(path) in parts:
        sharding = place(path, tuple(leaf.shape), leaf.dtype)
        if sharding.memory_kind != partitioning.HOST_MEMORY:
          shard = sharding.shard_shape(tuple(leaf.shape))
          found += math.prod(shard) * leaf.dtype.itemsize
    return found

  def release(
    self, kind: str | None = None, parts: Sequence[str] | None = None
  ) -> None:
    """Frees devices of what `bound` placed; see `residency.Residency`."""
    self.residency.release(kind, parts)

  @contextlib.contextmanager
  def lend(
    self, kind: str, parts: Sequence[str] | None = None
  ) -> Iterator[networks.BoundModule]:
    """As `bound`; the weights leave the devices when the block ends."""
    model = self.bound(kind, parts)
    try:
      yield model
    finally:
      model.params.clear()  # Whoever keeps the module keeps no weights.
      self.release(kind, parts)

  def size(self, kind: str) -> tuple[int, int, int]:
    """Frames, height and width of what `strag` or `vism` draws."""
    frames, height, width = frame_size(self.network(kind).metadata)
    return self._frames or frames, height, width

  @property
  def normalisation(self) -> motion.MotionNormalisation:
    """What turned trajectories into motion in training."""
    found = self.network("motion_vae").metadata["normalisation"]
    return motion.MotionNormalisation.from_json(found)

  def sampler(self, kind: str) -> sampler_options.SamplerConfig:
    """Steps, guidance and schedule of `strag` or `vism`.

    Raises:
      UserError: if the settings make no sense.
    """
    network = self.network(kind)
    metadata = network.metadata
    fit = caching.fit_of(str(metadata.get("size", "")))
    stated = metadata.get("sampling", {})
    values = {"teacache_fit": fit, **stated}
    values |= self._longer(network) | self._overrides
    try:
      sampler_options.check_overrides(self._overrides)
      sampler = sampler_options.SamplerConfig(**values)
      denoising.riflex_config(network.config.dit, sampler, frames=1)
    except ValueError as error:
      raise errors.UserError(f"sampling of {kind}: {error}") from error
    return sampler

  def _longer(self, network: store.Network) -> dict[str, Any]:
    """Settings for clips that are longer than those of training."""
    trained = frame_size(network.metadata)[0]
    if "riflex" in self._overrides or (self._frames or 0) <= trained:
      return {}
    head_dim = network.config.dit.layer.head_dim
    return {
      "riflex": longer_clips.riflex(head_dim, trained),
      "riflex_scale": 1.0,
    }

  def choices(
    self, kind: str
  ) -> sample_strag.STraGChoices | sample_vism.ViSMChoices:
    """What `strag` or `vism` is shown, as it was in training.

    The metadata of a network names what differs from the defaults under
    "conditions".
    """
    found = dict(self.network(kind).metadata.get("conditions", {}))
    if self._original:
      found |= original_conditions.PRESET[kind]
    return registry.NETWORKS[kind].conditions_class(**found)

  def record(self, kind: str) -> dict[str, Any]:
    """What a result remembers of the network that drew it, as JSON values."""
    return {
      "checkpoint": self.name,
      "sampler": dataclasses.asdict(self.sampler(kind)),
      "conditions": dataclasses.asdict(self.choices(kind)),
      "trained_frames": frame_size(self.network(kind).metadata)[0],
    }

  def facts(self) -> dict[str, Any]:
    """What tells these networks and their use from others, as JSON values.

    A network that was trained or converted has an `identity` in its metadata.
    """
    found = {
      kind: [repr(network.config), network.metadata]
      for kind, network in sorted(self._found.items())
    }
    for kind in registry.SAMPLED:
      if self.has(kind):
        found[kind] += [repr(self.choices(kind)), repr(self.sampler(kind))]
    return found

  def text_encoder_of(self, kind: str) -> str:
    """The first kind of network whose text encoder this kind has too.

    It is the same one if the stored arrays, the configuration and the
    tokenizer are.
    """
    wanted = self._text_encoder(kind)
    others = (k for k in registry.SAMPLED if self.has(k))
    return next(k for k in others if self._text_encoder(k) == wanted)

  def _text_encoder(self, kind: str) -> tuple[Any, ...]:
    """What tells a text encoder from others."""
    network = self.network(kind)
    row, stored = registry.NETWORKS[kind], matching.flatten(network.params)
    arrays = {
      path: id(leaf)
      for path, leaf in stored.items()
      if row.part_of(path) == "text_encoder"
    }
    return arrays, network.config.text, network.files.get("tokenizer")

  def tokens(self, kind: str, texts: Sequence[str]) -> Int[np.ndarray, "B L"]:
    """Token numbers of texts.

    Raises:
      UserError: if there is no tokenizer for the network's tokens.
    """
    network = self.network(kind)
    config = network.config.text
    encode = tokenizer.find(
      network.files.get("tokenizer"),
      config.length,
      config.vocabulary,
      f"the {kind} network of {self.name}",
    )
    return encode(list(texts))


def frame_size(metadata: Mapping[str, Any]) -> tuple[int, int, int]:
  """Frames, height and width that a network was trained at."""
  return tuple(int(metadata[n]) for n in ("frames", "height", "width"))
