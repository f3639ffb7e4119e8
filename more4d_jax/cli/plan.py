"""`more4d plan`: memory and time of a program before devices are booked."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from absl import flags
from ml_collections import config_flags

from more4d_jax import errors, generation, generation_plan, partitioning
from more4d_jax.checkpoints import dtypes, store
from more4d_jax.cli import flag_errors, lists, outputs, run_flags
from more4d_jax.experiment import config_reader, run, run_config
from more4d_jax.experiment import plan as training_plan
from more4d_jax.lora import requests
from more4d_jax.models import variants
from more4d_jax.planning import devices as device_kinds
from more4d_jax.planning import report


def plan(
  *,
  devices: str,
  config: str | None = None,
  size: str | None = None,
  checkpoint: pathlib.Path | None = None,
  dtype: dtypes.Held | None = None,
  stage: str = "",
  set: lists.Words = (),
  mesh: str | None = None,
  guidance_halves: Literal["batch", "sequence"] = "batch",
  offload: bool = False,
  search: bool = False,
  tries: int = 8,
  out: pathlib.Path | None = None,
) -> None:
  """Compiles a program for devices that need not be there, and says what it
  takes: bytes on each device, messages, operations and time.

  No weights, records or accelerators are needed. TPUs need libtpu, GPUs jax's
  CUDA plugin; where these are missing, virtual CPU devices stand for them.

  Args:
    devices: kind and number of chips: v5e, v5p, v6e, tpu7x, h100, h200 or cpu,
      as in v5p-64.
    config: a training, as in configs/strag.py:size=14b.
    size: generation with networks of this size instead, a stage at a time;
      autoencoders are in float32.
    checkpoint: generation with the networks of a bundle instead, of which
      headers are read.
    dtype: of generation: what transformers and encoders are held and compute
      in; as the checkpoint has it, or bfloat16, when left out.
    stage: words of the names of stages to plan, as in "ViSM step"; all when
      left out.
    set: fields of the configuration, as in memory.remat=none batch_size=64.
    mesh: how devices are laid out, as in fsdp=16,tensor=4. Of a training fsdp
      takes what the others leave, and it is as in the configuration when left
      out; generation takes auto, too, and is on one device when left out.
    guidance_halves: of generation: both halves as one batch, or in sequence.
    offload: of generation: layers lie in the host's memory.
    search: try the meshes of so many devices, with more and less kept for the
      backward pass and in fewer bits, and print the best three.
    tries: programs that the search compiles, at most.
    out: JSON file for the numbers.
  """
  if out is not None:
    outputs.check_file(out)
  group = device_kinds.parse(devices)
  given = {"config": config, "size": size, "checkpoint": checkpoint}
  named = [f"--{name}" for name, value in given.items() if value is not None]
  if len(named) != 1:
    raise errors.UserError(
      "expected --config for a training, or --size or --checkpoint for "
      f"generation, found {' and '.join(named) or 'none'}"
    )
  of_training = {"--set": bool(set), "--search": search}
  of_generation = {
    "--dtype": dtype is not None,
    "--stage": bool(stage),
    "--guidance-halves": guidance_halves != "batch",
    "--offload": offload,
  }
  _refuse(of_training if config is None else of_generation)
  if config is None:
    find, name = _networks(size, checkpoint, dtype)
    options = generation.Options(
      halves=guidance_halves,
      mesh=run_flags.read_mesh(mesh),
      offload=offload,
    )
    _print(generation_plan.plans(find, name, group, stage, options), out)
    return
  found = read_config(config, lists.items(set, _is_field, "--set"))
  if mesh is not None:
    found = dataclasses.replace(found, mesh=parse_mesh(mesh))
  task = run.make_task(found)
  if search:
    plans = training_plan.best(task, group, tries)
  else:
    plans = [training_plan.plan(task, group)]
  _print(plans, out)


def _refuse(given: Mapping[str, bool]) -> None:
  """Checks that no flag was given that the plan would not heed.

  Raises:
    UserError: if one was.
  """
  for flag, is_given in given.items():
    if is_given:
      raise errors.UserError(
        f"{flag} changes nothing here: --set and --search are for a training "
        "(--config), --dtype, --stage, --guidance-halves and --offload for "
        "generation (--size, --checkpoint); leave it out"
      )


def _networks(
  size: str | None, checkpoint: pathlib.Path | None, dtype: dtypes.Held | None
) -> tuple[Callable[[], dict[str, store.Network]], str]:
  """What finds networks of a size or a checkpoint, and their name.

  Raises:
    UserError: if there is no such size or checkpoint.
  """
  if checkpoint is not None:
    name = " ".join([checkpoint.name, *([dtype] if dtype else [])])
    find = functools.partial(requests.open_networks, checkpoint, dtype=dtype)
    return find, name
  if size not in variants.VARIANTS:
    raise errors.UserError(
      f"--size is {size!r}: choose one of {', '.join(variants.VARIANTS)}"
    )
  dtype = dtype or "bfloat16"
  find = functools.partial(generation_plan.of_size, size, dtype)
  return find, f"{size} {dtype}"


def _print(plans: Sequence[report.Plan], out: pathlib.Path | None) -> None:
  print("\n\n".join(map(report.table, plans)))
  if out is not None:
    outputs.write_json(out, {"plans": [report.as_json(one) for one in plans]})


def _is_field(text: str) -> bool:
  return "=" in text


def read_config(path: str, fields: Sequence[str]) -> run_config.RunConfig:
  """A configuration file as main.py reads it.

  Args:
    path: as after --config.
    fields: "NAME=VALUE", as after --config.

  Raises:
    UserError: for a mistake in either.
  """
  found = flags.FlagValues()
  arguments = [f"--config={path}", *(f"--config.{field}" for field in fields)]
  words = ["more4d plan", *arguments]
  values = config_flags.DEFINE_config_file(
    "config", None, flag_values=found, sys_argv=words
  )
  try:
    found(words)
    values.value.lock()  # Raises if the file could not be read.
  except flag_errors.MISTAKES as error:
    raise errors.UserError(flag_errors.describe(error, arguments)) from error
  return config_reader.read(values.value)


def parse_mesh(text: str) -> partitioning.MeshConfig:
  """Reads "fsdp=16,tensor=4".

  Raises:
    UserError: for an unknown axis or no number.
  """
  sizes: dict[str, int] = {"fsdp": -1}
  for part in text.split(","):
    name, _, size = part.partition("=")
    if name not in partitioning.MESH_AXES or not size.isdecimal():
      raise errors.UserError(
        f"--mesh has {part!r}: expected {', '.join(partitioning.MESH_AXES)} "
        "with a number each, as in fsdp=16,tensor=4"
      )
    sizes[name] = int(size)
  return partitioning.MeshConfig(**sizes)
