"""The settings of a sampler: the only place where one is declared.

Each field of `SamplerConfig` carries its default, range, choices and help. The
configurations' section `sampling`, the flags of the command line and the
settings that a user changes for a checkpoint all follow from it.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from more4d_jax.sampling import schedules


@dataclasses.dataclass(frozen=True)
class Option:
  """What is known of a setting beside its name, type and default.

  Attributes:
    help: one sentence for users.
    low: smallest value.
    high: largest value.
    choices: the names that there are, for a setting that is a name.
    flag: its name on the command line; None for what only Python can set and
      a network's metadata records.
    network: the kind of the only network that it concerns; None for all.
  """

  help: str
  low: float | int = -math.inf
  high: float | int = math.inf
  choices: tuple[str, ...] = ()
  flag: str | None = None
  network: str | None = None

  def complaint(self, value: Any) -> str | None:
    """Why a value cannot be taken: "0 to 1, found 2"; None if it can."""
    if self.choices:
      expected = ", ".join(self.choices)
      return None if value in self.choices else f"{expected}, found {value!r}"
    if isinstance(value, bool | str):
      return None
    if math.isfinite(value) and self.low <= value <= self.high:
      return None
    expected = f"at least {self.low:g}"
    if self.high < math.inf:
      expected = f"{self.low:g} to {self.high:g}"
    return f"{expected}, found {value}"


def _option(default: Any, help: str, **known: Any) -> Any:
  """A field of `SamplerConfig`."""
  return dataclasses.field(
    default=default, metadata={"option": Option(help, **known)}
  )


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """How a latent is drawn; `options` tells what each field means."""

  num_steps: int = _option(
    50,
    "Evaluations of the network; a guided one counts once.",
    low=1,
    flag="steps",
  )
  guidance_scale: float = _option(
    6.0,
    "Weight of the prompt; at most 1 switches guidance off.",
    low=0,
    high=100,
    flag="guidance",
  )
  shift: float = _option(
    5.0,
    "Shift of the noise levels; more spends more steps on high noise.",
    low=0.01,
    high=100,
    flag="shift",
  )
  sampler: str = _option(
    "euler",
    "Solver of the probability flow.",
    choices=schedules.SAMPLERS,
    flag="sampler",
  )
  schedule: str = _option(
    "shifted",
    "Noise levels: shifted once, or compat, as the original has them.",
    choices=schedules.SCHEDULES,
    flag="schedule",
  )
  cfg_skip: float = _option(
    0.0,
    "Share of the steps, the last ones, without guidance: they cost half.",
    low=0,
    high=1,
    flag="cfg-skip",
  )
  teacache: float = _option(
    0.0,
    "How far the network's input may drift, added up, before its layers run "
    "again, for example 0.1; 0 runs them at every step.",
    low=0,
    flag="teacache",
  )
  teacache_start: int = _option(
    5, "The first steps, which always run the layers.", low=1
  )
  teacache_fit: str = _option(
    "plain", "A name of `caching.FITS`; follows from the network's size."
  )
  riflex: int = _option(
    0,
    "Number, from 1, of the rotary frequency of frames that is slowed down "
    "for videos longer than those of training, for example 6; 0 for none.",
    low=0,
    flag="riflex",
  )
  riflex_scale: float = _option(
    4.886,
    "Of that frequency's period, see `layers.axis_frequencies`.",
    low=0.01,
  )
  smoothing: float = _option(
    0.0,
    "Smoothing of every point's motion along time, for example 1; 0 for none.",
    low=0,
    high=1e6,
    flag="smoothing",
    network="strag",
  )
  keep_rendered: bool = _option(
    False,
    "True keeps the pixels of a rendering and fills its holes only; False "
    "lets view completion draw every pixel.",
    flag="keep-rendered",
    network="vism",
  )

  def __post_init__(self) -> None:
    for name, option in OPTIONS.items():
      reason = option.complaint(getattr(self, name))
      if reason:
        raise ValueError(f"expected a {name} of {reason}")


OPTIONS: Mapping[str, Option] = {
  field.name: field.metadata["option"]
  for field in dataclasses.fields(SamplerConfig)
}
# What users set, on the command line and in configurations.
FLAGS: Mapping[str, str] = {
  name: option.flag for name, option in OPTIONS.items() if option.flag
}


def section(network: str) -> dict[str, Any]:
  """The user's settings of a kind of network, with their defaults."""
  defaults = dataclasses.asdict(SamplerConfig())
  return {
    name: defaults[name]
    for name in FLAGS
    if OPTIONS[name].network in (None, network)
  }


def check_overrides(
  values: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> None:
  """Makes sure that settings exist and are in range.

  Args:
    values: name of a field of `SamplerConfig` -> value.
    labels: name of a field -> what messages call it.

  Raises:
    ValueError: if one is not.
  """
  unknown = sorted(set(values) - set(OPTIONS))
  if unknown:
    raise ValueError(
      f"expected settings of {', '.join(OPTIONS)}, found {unknown[0]!r}"
    )
  for name, value in values.items():
    reason = OPTIONS[name].complaint(value)
    if reason:
      label = (labels or {}).get(name, f"a {name}")
      raise ValueError(f"expected {label} of {reason}")
