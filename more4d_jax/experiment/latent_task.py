"""What 4D-STraG and 4D-ViSM share: flow matching under given conditions."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import errors, locations, partitioning, rng
from more4d_jax.checkpoints import placing, store, stored_arrays
from more4d_jax.conditions import features
from more4d_jax.experiment import condition_task, model_config, run_config
from more4d_jax.experiment import task as tasks
from more4d_jax.lora import dialects
from more4d_jax.models import denoiser, latent_stats, lora, lora_merging
from more4d_jax.models.encoders import tokenizer
from more4d_jax.name_maps import matching
from more4d_jax.sampling import denoising, sampler_options

_LORA_FILE = "lora.safetensors"


class LatentTask(condition_task.ConditionTask):
  """Flow matching on latents, under what frozen networks say of records.

  Attributes:
    config: with the sections `model`, `dropout`, `flow` and `sampling`.
  """

  config: run_config.FlowRunConfig
  objective_class: ClassVar[type]

  def __init__(self, config: run_config.FlowRunConfig):
    """Keeps the configuration and makes sure that it can be sampled."""
    super().__init__(config)
    sampler = sampler_options.SamplerConfig(**config.sampler)
    try:
      denoising.riflex_config(self.network.dit, sampler, frames=1)
    except ValueError as error:
      raise errors.UserError(f"section sampling: {error}") from error

  @property
  def network(self) -> Any:
    """The network of the size with the switches of the section `model`."""
    switches = self.config.model
    return model_config.replace_fields(
      getattr(self.variant, self.kind),
      dtype=self.config.dtype,
      attention=switches.attention,
      context_attention=switches.context_attention,
      norm_rotary=switches.norm_rotary,
      remat=self.config.memory.remat,
    )

  def objective(self, opened: tasks.Opened | None = None) -> Any:
    """The loss; with statistics that change nothing before `open`."""
    variant, network = self.variant, self.network
    if opened is None:
      stats = latent_stats.identity(network.dit.out_channels)
      empty_text = np.zeros(network.text.length, np.int32)
    else:
      stats = self.stats(opened)
      empty_text = opened.tokenizer([""])[0]
    return self.objective_class(
      config=network,
      stats=stats,
      flow=self.config.flow,
      dropout=self.config.dropout,
      grid=variant.latent_grid,
      image_size=(variant.height, variant.width),
      empty_text=empty_text,
      lora=self.config.model.lora,
    )

  def stats(self, opened: tasks.Opened) -> latent_stats.LatentStats:
    """Statistics of the latents that are drawn."""
    (below,) = (opened.below[kind] for kind in self.needs)
    return latent_stats.LatentStats.from_json(below.metadata["latent_stats"])

  @property
  def trainable(self) -> Sequence[str]:
    """The LoRA, or else the transformer and encoders as configured."""
    network, switches = self.network, self.config.model
    if switches.lora is not None:
      return [f"{lora.COLLECTION}/.*"]
    return [
      "dit/.*",
      *(["text_encoder/.*"] if switches.train_text_encoder else []),
      *(
        ["image_encoder/.*"]
        if switches.train_image_encoder and network.image
        else []
      ),
    ]

  @property
  def outside(self) -> Sequence[str]:
    """The encoders that are not trained."""
    return [
      name
      for name in denoiser.encoders_of(self.network)
      if f"{name}/.*" not in self.trainable
    ]

  @property
  def frozen_dtype(self) -> str:
    """That of the products, as sampling may hold transformers."""
    return self.config.dtype

  @property
  def example(self) -> Mapping[str, jax.ShapeDtypeStruct]:
    """Shapes of what every example has; more in the subclasses."""
    variant, network = self.variant, self.network
    read = {
      "image": ((variant.height, variant.width, 3), jnp.uint8),
      "text": ((network.text.length,), jnp.int32),
    }
    trained = set(denoiser.encoders_of(network)) - set(self.outside)
    found = {
      denoiser.ENCODERS[name].reads: jax.ShapeDtypeStruct(
        *read[denoiser.ENCODERS[name].reads]
      )
      for name in trained
    }
    for name, shape in features.shapes(network, self.outside).items():
      found[name] = jax.ShapeDtypeStruct(shape, self.kept_dtype)
    return found

  @property
  def tokens(self) -> int:
    """Of the video and, where there is one, of the reference."""
    dit, grid = self.network.dit, self.variant.latent_grid
    t, h, w = (n // p for n, p in zip(grid, dit.patch))
    return (t + int(dit.reference)) * h * w

  def latents(self, *names: str, channels: int = 0) -> dict[str, Any]:
    """Shapes of latents, by name."""
    channels = channels or self.network.dit.out_channels
    shape = (*self.variant.latent_grid, channels)
    return dict.fromkeys(names, jax.ShapeDtypeStruct(shape, self.kept_dtype))

  def open(self, workdir: locations.Location) -> tasks.Opened:
    """Opens records, networks, and the tokenizer of the one to go on from.

    Raises:
      UserError: also if a LoRA has no network to change, or the text encoder
        reads tokens that nothing makes.
    """
    rank = self.config.model.lora_rank
    if rank and not getattr(self.config.init_from, self.kind):
      raise errors.UserError(
        f"model.lora_rank is {rank}, but there is no network for the LoRA to "
        f"change: set init_from.{self.kind}, or model.lora_rank to 0"
      )
    opened = super().open(workdir)
    text = self.network.text
    files = {} if opened.start is None else opened.start.files
    name = (
      f"a {self.kind} of size {self.config.size} without init_from.{self.kind}"
      if opened.start is None
      else f"the {self.kind} in {getattr(self.config.init_from, self.kind)}"
    )
    found = tokenizer.find(
      files.get("tokenizer"), text.length, text.vocabulary, name
    )
    if np.count_nonzero(found([""])) != 1:
      raise errors.UserError(
        f"the tokenizer of {name} makes several tokens of an empty caption: "
        "expected the end of the text alone; convert the text encoder again"
      )
    opened = dataclasses.replace(opened, tokenizer=found)
    return dataclasses.replace(opened, outside=self._outside(opened))

  def _outside(self, opened: tasks.Opened) -> dict[str, Any]:
    """Parameters of the encoders that are not trained."""
    start = {} if opened.start is None else opened.start.params
    found = {name: start[name] for name in self.outside if name in start}
    new = [name for name in self.outside if name not in start]
    if not new:
      return found
    objective = self.objective(opened)

    @jax.jit
    def init() -> Any:
      params = objective.init(rng.key(self.config.seed, "init"))
      return partitioning.unbox({name: params[name] for name in new})

    return {**found, **jax.device_get(init())}

  def _trained_lora(self, params: Any) -> lora.LoRA:
    return lora.from_trained(
      _LORA_FILE,
      partitioning.fetch(params[lora.COLLECTION]),
      self.config.model.lora_alpha,
      self.network.dit.layer.head_dim,
    )

  def assembled(self, params: Any) -> Any:
    """The network with the LoRA merged into it, if there is one."""
    if self.config.model.lora is None:
      return params
    network = {k: v for k, v in params.items() if k != lora.COLLECTION}
    weighted = lora.Weighted(self._trained_lora(params))
    arrays = matching.flatten(network["dit"])
    changes = lora_merging.merged(
      network["dit"], [weighted], self.network.dit.layer.head_dim
    )
    for path, read in changes.items():
      arrays[path] = stored_arrays.changed(arrays[path], read)
    # Each device's shard is read and changed by itself.
    shardings = self._shardings()
    network["dit"] = placing.put_tree(
      matching.unflatten(arrays), lambda path, *_: shardings[path]
    )
    return network

  def _shardings(self) -> dict[str, jax.sharding.Sharding]:
    """Path of a transformer's parameter -> where it lies on the mesh."""
    objective = self.objective()
    boxed = jax.eval_shape(
      lambda: objective.init(rng.key(self.config.seed, "init"))
    )
    mesh = jax.sharding.get_mesh()
    return matching.flatten(partitioning.shardings(mesh, boxed["dit"]))

  def write_beside(self, params: Any, workdir: locations.Location) -> None:
    """Writes the LoRA with the original's names."""
    if self.config.model.lora is None:
      return
    found = self._trained_lora(params)
    if jax.process_index() == 0:
      with locations.written_here(workdir / _LORA_FILE) as file:
        dialects.save(file, found, "original")

  def sampled(self, opened: tasks.Opened, params: Any) -> store.Network:
    """The network as it will be stored, to sample from."""
    metadata = self.metadata(opened, params)
    return store.Network(
      self.kind, self.network, params, metadata, opened.files
    )

  def metadata(self, opened: tasks.Opened, params: Any) -> dict[str, Any]:
    """How to sample."""
    del opened, params
    return {**self.size, "sampling": self.config.sampler}
