"""Flags that say how latents are drawn, shared by subcommands."""

import dataclasses
import math
from typing import Literal

from more4d_jax import errors, loaded


@dataclasses.dataclass(frozen=True)
class SamplingFlags:
  """How latents are drawn; as the checkpoint says where left out.

  Attributes:
    steps: sampling steps.
    guidance: guidance scale; at most 1 follows the prompt alone.
    sampler: solver of the steps.
    shift: of the noise levels; more spends more steps on high noise.
    schedule: noise levels: shifted once, or "compat" as the original has them.
    cfg_skip: share of the steps, the last ones, without guidance: they cost
      half.
    teacache: how far the network's input may drift before its layers run
      again, for example 0.1; 0 runs them at every step.
    riflex: number of the rotary frequency that is slowed down for videos
      longer than those of training, for example 6; 0 for none.
    smoothing: of every point's motion along time, for example 1; 0 for none.
    keep_rendered: True keeps the pixels of a rendering and fills its holes
      only; False lets view completion draw every pixel.
  """

  steps: int | None = None
  guidance: float | None = None
  sampler: Literal["euler", "unipc", "dpm++"] | None = None
  shift: float | None = None
  schedule: Literal["shifted", "compat"] | None = None
  cfg_skip: float | None = None
  teacache: float | None = None
  riflex: int | None = None
  smoothing: float | None = None
  keep_rendered: bool | None = None

  def overrides(self) -> loaded.Overrides:
    """The settings that differ from a checkpoint's.

    Raises:
      UserError: if a number makes no sense.
    """
    for name, low, high in (
      ("steps", 1, math.inf),
      ("guidance", 0, 100),
      ("shift", 0.01, 100),
      ("cfg_skip", 0, 1),
      ("teacache", 0, 100),
      ("riflex", 0, math.inf),
      ("smoothing", 0, 1e6),
    ):
      value = getattr(self, name)
      if value is not None and not low <= value <= high:
        limits = f"{low} to {high}" if high < math.inf else f"at least {low}"
        flag = name.replace("_", "-")
        raise errors.UserError(
          f"expected --{flag} of {limits}, found --{flag} {value}"
        )
    values = dataclasses.asdict(self)
    return loaded.Overrides(
      num_steps=values.pop("steps"),
      guidance_scale=values.pop("guidance"),
      **values,
    )


DEFAULT = SamplingFlags()
