"""Flags that say how networks are run, shared by subcommands."""

import dataclasses
from typing import Literal

from more4d_jax import generation
from more4d_jax.cli import progress


@dataclasses.dataclass(frozen=True)
class RunFlags:
  """How networks are run; what they compute stays the same.

  Attributes:
    guidance_halves: both halves of guidance as one batch, or in sequence,
      which takes half the memory for activations.
  """

  guidance_halves: Literal["batch", "sequence"] = "batch"


DEFAULT = RunFlags()


def options(flags: RunFlags, batch: int | None = None) -> generation.Options:
  """What a pipeline is told; it shows its progress on standard error.

  Args:
    flags: of the user.
    batch: see `generation.Options`.
  """
  return generation.Options(batch, flags.guidance_halves, progress.Progress())
