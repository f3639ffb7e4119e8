"""How strongly a LoRA file is meant to be applied, from its options.

The product of a module's matrices is multiplied with alpha / rank, or alpha /
sqrt(rank) where the file asks for rank stabilisation. An alpha may be a tensor
of each module; or stand in the header, as PEFT (through diffusers and others)
and kohya's scripts write it; or in the file that PEFT puts beside. Source:
PEFT's `LoraConfig`; kohya's `ss_network_alpha`.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from more4d_jax import errors

# Entries of a header that hold PEFT's options as one JSON object.
_OBJECTS = ("lora_adapter_metadata", "lora_config", "adapter_config", "peft")
_NAMES = (
  "r",
  "lora_alpha",
  "use_rslora",
  "rank_pattern",
  "alpha_pattern",
  "use_dora",
  "init_lora_weights",
)
# Ways to start a LoRA that change the base's weights too.
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_KOHYA_ALPHA = "ss_network_alpha"
# A pattern is a name, or a regular expression that is matched in little time.
_PATTERN_LENGTH, _PATTERN_REPEATS = 300, 3


@dataclasses.dataclass(frozen=True)
class Options:
  """What a file says about its strength.

  Attributes:
    alpha: of modules that no pattern names, None if it says nothing.
    alphas: pattern of module names -> alpha.
    rank: of modules that no pattern names, None if it says nothing.
    ranks: pattern of module names -> rank.
    stabilised: whether alpha is divided by the root of the rank.
    network_alpha: text of kohya's alpha, which counts where no other does.
  """

  alpha: float | None = None
  alphas: Mapping[str, float] = dataclasses.field(default_factory=dict)
  rank: float | None = None
  ranks: Mapping[str, float] = dataclasses.field(default_factory=dict)
  stabilised: bool = False
  network_alpha: str | None = None

  def scale(self, names: Iterable[str], rank: int, own: float | None) -> float:
    """What a module's product is multiplied with.

    Args:
      names: the module's, in every spelling.
      rank: of its matrices.
      own: the alpha among its tensors.

    Raises:
      ValueError: if the options contradict the matrices; says how.
    """
    names = list(names)
    stated = _matching(self.ranks, names, self.rank)
    if stated is not None and stated != rank:
      raise ValueError(
        f"has matrices of rank {rank}, its header says {stated:g}"
      )
    alpha = own
    if alpha is None:
      alpha = _matching(self.alphas, names, self.alpha)
    if alpha is None and self.network_alpha is not None:
      alpha = _kohya_alpha(self.network_alpha)
    if alpha is None:
      return 1.0
    return alpha / (math.sqrt(rank) if self.stabilised else rank)


def _matching(
  patterns: Mapping[str, float], names: Iterable[str], other: float | None
) -> float | None:
  """The value of the first pattern that ends a name, as PEFT has it."""
  for pattern, value in patterns.items():
    if any(re.match(rf"(.*\.)?({pattern})$", name) for name in names):
      return value
  return other


def _kohya_alpha(text: str) -> float | None:
  if text in ("None", ""):
    return None
  try:
    found = float(text)
  except ValueError:
    found = math.nan
  if not math.isfinite(found):
    raise ValueError(f"has no alpha, and {_KOHYA_ALPHA} is {text!r}")
  return found


def read(
  header: Mapping[str, str], beside: Mapping[str, Any] | None, what: str
) -> Options:
  """Reads the options of a file.

  Args:
    header: of the file.
    beside: PEFT's adapter_config.json, None if there is none.
    what: names the file in messages.

  Raises:
    UserError: if an option makes no sense, or asks for what adding the
      matrices to the weights cannot give.
  """
  values: dict[str, Any] = {}
  for name in _NAMES:
    if name in header:
      values[name] = _parsed(header[name])
  for name in _OBJECTS:
    if name in header:
      values |= _object(header[name], f"{name} in the header of {what}")
  values |= _options(beside or {})
  _check_kind(values, what)
  options = Options(
    alpha=_number(values, "lora_alpha", what),
    alphas=_patterns(values, "alpha_pattern", what),
    rank=_number(values, "r", what),
    ranks=_patterns(values, "rank_pattern", what),
    stabilised=_truth(values, "use_rslora", what),
    network_alpha=header.get(_KOHYA_ALPHA),
  )
  known = (options.alpha, options.network_alpha)
  if options.stabilised and not options.alphas and known == (None, None):
    raise errors.UserError(
      f"{what} says use_rslora without lora_alpha, which it scales: get the "
      "file with its whole header, or with adapter_config.json beside it"
    )
  return options


def _parsed(text: str) -> Any:
  """An option that a header holds by itself, where all values are text."""
  lowered = text.strip().lower()
  if lowered in ("true", "false", "none", "null"):
    return {"true": True, "false": False}.get(lowered)
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return text


def _object(text: str, where: str) -> dict[str, Any]:
  try:
    found = json.loads(text)
  except (ValueError, RecursionError) as error:
    line = str(error).partition("\n")[0]
    raise errors.UserError(
      f"{where} is damaged ({line}): download the file again"
    ) from error
  if not isinstance(found, dict):
    raise errors.UserError(
      f"{where} is no JSON object: download the file again"
    )
  return _options(found)


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
  """PEFT's options, of which diffusers says that the transformer has them."""
  names = {f"{prefix}{name}": name for name in _NAMES for prefix in _PREFIXES}
  return {names[key]: value for key, value in values.items() if key in names}


_PREFIXES = ("", "transformer.", "diffusion_model.")


def _check_kind(values: Mapping[str, Any], what: str) -> None:
  if _truth(values, "use_dora", what):
    raise errors.UserError(f"{what} is a DoRA: {DORA}")
  start = values.get("init_lora_weights")
  if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
    raise errors.UserError(
      f"{what} started from the base's own weights ({start}), which it takes "
      "out of the base first: save it with PEFT's "
      "path_initial_model_for_weight_conversion, which makes it a plain LoRA"
    )


# Why a DoRA is not applied.
DORA = (
  "it gives the columns of the changed weights lengths of their own, which "
  "has no meaning at a weight other than 1 or beside another LoRA; merge it "
  "into its base with the program that trained it, or train it without DoRA"
)


def _number(values: Mapping[str, Any], name: str, what: str) -> float | None:
  value = values.get(name)
  if value is None:
    return None
  return _checked(value, name, what)


def _checked(value: Any, name: str, what: str) -> float:
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if not number or not abs(value) < 1e9:  # NaN is not below either.
    raise errors.UserError(
      f"{what} has a header with {name} {str(value)[:40]!r}, expected a "
      "number: download it again"
    )
  return float(value)


def _truth(values: Mapping[str, Any], name: str, what: str) -> bool:
  value = values.get(name)
  if value is None:
    return False
  if not isinstance(value, bool):
    raise errors.UserError(
      f"{what} has a header with {name} {str(value)[:40]!r}, expected true or "
      "false: download it again"
    )
  return value


def _patterns(
  values: Mapping[str, Any], name: str, what: str
) -> dict[str, float]:
  found = values.get(name)
  if found is None:
    return {}
  if not isinstance(found, dict):
    raise errors.UserError(
      f"{what} has a header with {name} {str(found)[:40]!r}, expected an "
      "object of modules: download it again"
    )
  for pattern in found:
    if not _is_quick(pattern):
      raise errors.UserError(
        f"{what} has a header with {name} for {pattern[:60]!r}, expected a "
        "module's name or a simple regular expression: name the modules"
      )
  return {key: _checked(v, f"{name} {key}", what) for key, v in found.items()}


def _is_quick(pattern: str) -> bool:
  """Whether it is a regular expression that no name keeps busy for long."""
  try:
    re.compile(pattern)
  except (re.error, OverflowError, RecursionError):
    return False
  repeats = len(re.findall(r"[*+{]", pattern))
  nested = re.search(r"\)[*+{]", pattern)
  short = len(pattern) <= _PATTERN_LENGTH and repeats <= _PATTERN_REPEATS
  return short and not nested
