"""Flags that say how latents are drawn, shared by subcommands."""

import dataclasses
from typing import Annotated, Any, Literal

import tyro

from more4d_jax import errors
from more4d_jax.cli import lists
from more4d_jax.lora import requests
from more4d_jax.sampling import sampler_options


def _flag(name: str) -> tuple[str, Any, Any]:
  """A setting's flag as a field of `SamplingFlags`."""
  option = sampler_options.OPTIONS[name]
  kind = sampler_options.SamplerConfig.__annotations__[name]
  if option.choices:
    kind = Literal[option.choices]
  flag = sampler_options.FLAGS[name].replace("-", "_")
  field = dataclasses.field(default=None, metadata={"setting": name})
  return flag, Annotated[kind | None, tyro.conf.arg(help=option.help)], field


# None leaves a setting as the checkpoint has it.
SamplingFlags = dataclasses.make_dataclass(
  "SamplingFlags", map(_flag, sampler_options.FLAGS), frozen=True
)
DEFAULT = SamplingFlags()


def overrides(flags: SamplingFlags) -> dict[str, Any]:
  """The settings that differ from a checkpoint's.

  Returns: field of `sampler_options.SamplerConfig` -> value.

  Raises:
    UserError: if a number is out of range.
  """
  values = {
    field.metadata["setting"]: getattr(flags, field.name)
    for field in dataclasses.fields(flags)
    if getattr(flags, field.name) is not None
  }
  labels = {name: f"--{flag}" for name, flag in sampler_options.FLAGS.items()}
  try:
    sampler_options.check_overrides(values, labels)
  except ValueError as error:
    raise errors.UserError(str(error)) from error
  return values


def read_loras(words: lists.Words) -> list[requests.Request]:
  """The LoRA files of --lora, each told in a line.

  Raises:
    UserError: as `requests.parse`.
  """
  loras = requests.parse(lists.items(words, requests.names_file, "--lora"))
  for request in loras:
    print(requests.describe(request), flush=True)
  return loras
