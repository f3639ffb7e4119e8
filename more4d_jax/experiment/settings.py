"""Configuration sections to the frozen dataclasses that rooms take."""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from more4d_jax import errors, partitioning
from more4d_jax.geometry import motion
from more4d_jax.kernels.attention import context_parallel, dispatch
from more4d_jax.kernels.norm_rotary import dispatch as norm_rotary
from more4d_jax.models import attention as attention_layers
from more4d_jax.models import backbone, flow_matching
from more4d_jax.sampling import (
  denoising,
  sampler_options,
)
from more4d_jax.training import loop, optimizer

# What a later start of the same run may change.
_FREE = (
  "log_every",
  "skip_limit",
  "data.workers",
  "data.threads",
  "checkpoint.every",
  "checkpoint.keep",
  "evaluation.every",
  "evaluation.records",
  "evaluation.videos",
  *(f"sampling.{name}" for name in sampler_options.FLAGS),
  "mesh.data",
  "mesh.fsdp",
  "mesh.context",
  "mesh.tensor",
  "model.attention",
  "model.context_attention",
  "model.norm_rotary",
)


def section(cls: type, config: ml_collections.ConfigDict) -> Any:
  """Builds a dataclass from a section with the same fields."""
  return cls(**config.to_dict())


def optimizer_config(
  config: ml_collections.ConfigDict,
) -> optimizer.OptimizerConfig:
  """Reads the section `optimizer`.

  Raises:
    UserError: for an unknown schedule, or a rate or clip that is no positive
      number.
  """
  found = section(optimizer.OptimizerConfig, config.optimizer)
  for name in ("learning_rate", "clip"):
    value = getattr(found, name)
    if not (math.isfinite(value) and value > 0):
      raise errors.UserError(
        f"optimizer.{name} is {value}: expected a positive number"
      )
  least = {"outlier_deviations": 0, "outlier_window": 1, "outlier_after": 1}
  for name, bound in least.items():
    value = getattr(found, name)
    if not value >= bound:
      raise errors.UserError(
        f"optimizer.{name} is {value}: expected at least {bound}"
      )
  if found.schedule not in optimizer.SCHEDULES:
    raise errors.UserError(
      f"optimizer.schedule is {found.schedule!r}: choose one of "
      f"{', '.join(optimizer.SCHEDULES)}"
    )
  return found


def mesh_config(config: ml_collections.ConfigDict) -> partitioning.MeshConfig:
  """Reads the section `mesh`."""
  return section(partitioning.MeshConfig, config.mesh)


def loop_config(config: ml_collections.ConfigDict) -> loop.LoopConfig:
  """Reads the length of the run and the intervals of its regular work.

  Raises:
    UserError: for a count that is not positive.
  """
  positive = {
    "num_steps": config.num_steps,
    "batch_size": config.batch_size,
    "log_every": config.log_every,
    "skip_limit": config.skip_limit,
    "checkpoint.every": config.checkpoint.every,
    "checkpoint.keep": config.checkpoint.keep,
    "evaluation.records": config.evaluation.records,
    # Of the tasks that measure their latents when training ends.
    "statistics_records": config.get("statistics_records", 1),
  }
  for name, value in positive.items():
    if value < 1:
      raise errors.UserError(f"{name} is {value}: expected at least 1")
  return loop.LoopConfig(
    num_steps=config.num_steps,
    log_every=config.log_every,
    checkpoint_every=config.checkpoint.every,
    checkpoint_keep=config.checkpoint.keep,
    evaluate_every=config.evaluation.every,
    skip_limit=config.skip_limit,
  )


def normalisation(
  config: ml_collections.ConfigDict,
) -> motion.MotionNormalisation:
  """Reads the section `motion`.

  Raises:
    UserError: for an unknown mode or factors that are no pair of numbers.
  """
  alpha = None
  try:
    if config.motion.alpha != "intrinsics":
      alpha = tuple(float(a) for a in config.motion.alpha.split(","))
      if len(alpha) != 2:
        raise ValueError(f"{len(alpha)} numbers")
  except ValueError as error:
    raise errors.UserError(
      f"motion.alpha is {config.motion.alpha!r}: expected intrinsics or two "
      "numbers as in 1.04,1"
    ) from error
  mode = config.motion.normalisation
  if mode not in motion.MODES:
    raise errors.UserError(
      f"motion.normalisation is {mode!r}: choose one of "
      f"{', '.join(motion.MODES)}"
    )
  return motion.MotionNormalisation(mode, alpha)


def flow_config(config: ml_collections.ConfigDict) -> flow_matching.FlowConfig:
  """Reads the section `flow`.

  Raises:
    UserError: for an unknown sampling or weighting.
  """
  names = {
    "sampling": flow_matching.SAMPLINGS,
    "weighting": flow_matching.WEIGHTINGS,
  }
  for name, allowed in names.items():
    if config.flow[name] not in allowed:
      raise errors.UserError(
        f"flow.{name} is {config.flow[name]!r}: choose one of "
        f"{', '.join(allowed)}"
      )
  return section(flow_matching.FlowConfig, config.flow)


def sampling(
  config: ml_collections.ConfigDict, dit: backbone.DiTConfig
) -> dict[str, Any]:
  """Reads the section `sampling` for a network's metadata.

  Args:
    config: the whole configuration.
    dit: the network that will be sampled.

  Returns: fields of `sampler_options.SamplerConfig`.

  Raises:
    UserError: for an unknown name or a number out of range.
  """
  values = config.sampling.to_dict()
  values["shift"] = values["shift"] or config.flow.shift
  try:
    denoising.riflex_config(
      dit, sampler_options.SamplerConfig(**values), frames=1
    )
  except ValueError as error:
    raise errors.UserError(f"section sampling: {error}") from error
  return values


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  flat = {}
  for name, value in values.items():
    if isinstance(value, dict):
      flat |= _flat(value, f"{prefix}{name}.")
    else:
      flat[f"{prefix}{name}"] = (
        list(value) if isinstance(value, tuple) else value
      )
  return flat


def check_workdir(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> None:
  """Compares with the configuration that a workdir was started with, if any.

  Raises:
    UserError: if the workdir belongs to another configuration.
  """
  path = pathlib.Path(workdir) / "config.json"
  if not path.exists():
    return
  mine, found = _flat(config.to_dict()), json.loads(path.read_text())
  free = set(_FREE)
  if config.optimizer.schedule == "constant":
    free.add("num_steps")
  for name in sorted({*mine, *found} - free):
    if mine.get(name) != found.get(name):
      raise errors.UserError(
        f"{workdir} holds a run of another config: {name} is "
        f"{found.get(name)!r} there and {mine.get(name)!r} here; use another "
        "--workdir or the config it was started with"
      )


def claim_workdir(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> None:
  """Writes `config.json`, or compares with the one that is there.

  Raises:
    UserError: if the workdir belongs to another configuration.
  """
  path = pathlib.Path(workdir) / "config.json"
  if path.exists():
    check_workdir(config, workdir)
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_suffix(".partial")
  text = json.dumps(_flat(config.to_dict()), indent=2, sort_keys=True)
  temporary.write_text(text + "\n")
  os.replace(temporary, path)


def attention(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Reads `model.attention`, `context_attention` and `norm_rotary`.

  Returns: fields of a `backbone.DiTConfig`.

  Raises:
    UserError: for an unknown implementation or form.
  """
  known = {
    "attention": dispatch.IMPLEMENTATIONS,
    "context_attention": context_parallel.FORMS,
    "norm_rotary": norm_rotary.IMPLEMENTATIONS,
  }
  found = {name: config.model[name] for name in known}
  for name, value in found.items():
    if value not in known[name]:
      raise errors.UserError(
        f"model.{name} is {value!r}: choose one of {', '.join(known[name])}"
      )
  return found


def check_kernels(
  layer: attention_layers.AttentionConfig, mesh: jax.sharding.Mesh
) -> None:
  """Makes sure that the devices have the kernels that a config names.

  Raises:
    UserError: unless they do.
  """
  kind = mesh.devices.flat[0].device_kind
  facts = layer.head_dim, jnp.dtype(layer.dtype), kind
  for name, value, room in (
    ("attention", layer.implementation, dispatch),
    ("norm_rotary", layer.norm_rotary, norm_rotary),
  ):
    reason = room.why_not(value, *facts)
    if reason:
      raise errors.UserError(
        f"model.{name} is {value!r}, which {reason}: choose auto"
      )
  ways, tensor = mesh.shape["context"], mesh.shape["tensor"]
  if ways > 1:
    # As `partitioning.partition_spec` does, all where they do not divide.
    heads = layer.num_heads // (1 if layer.num_heads % tensor else tensor)
    reason = context_parallel.why_not(
      layer.context, layer.implementation, heads, ways
    )
    if reason:
      raise errors.UserError(reason)


def portable(network: Any) -> Any:
  """A network's configuration without what suits one machine only."""
  return replace_model(
    network, attention="auto", context_attention="ring", norm_rotary="auto"
  )


def replace_model(model: Any, **changes: Any) -> Any:
  """Sets fields in a nested model config wherever a dataclass has them."""
  values = {}
  for field in dataclasses.fields(model):
    value = getattr(model, field.name)
    if field.name in changes:
      values[field.name] = changes[field.name]
    elif dataclasses.is_dataclass(value):
      values[field.name] = replace_model(value, **changes)
  return dataclasses.replace(model, **values)
