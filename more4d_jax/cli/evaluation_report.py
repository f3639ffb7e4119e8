"""What `more4d evaluate` tells: on the terminal, as JSON, as a table."""

import dataclasses
import math
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import more4d_jax
from more4d_jax import errors
from more4d_jax.cli import outputs

Figures = Mapping[str, float]
Intervals = Mapping[str, tuple[float, float]]

_NO_WEIGHTS = "not measured: no weights, see --lpips"
# A scene that is not there has no such figure; only weights can be missing.
_UNMEASURED = {"lpips": _NO_WEIGHTS}


@dataclasses.dataclass(frozen=True)
class Threshold:
  """What a figure should reach.

  Attributes:
    figure: "<group>/<name>".
    below: whether the figure should be below the limit, not above it.
    limit: a number, or another figure of the group.
    doc: in words.
  """

  figure: str
  below: bool
  limit: float | str
  doc: str


BOUNDS = (
  Threshold("motion64/relative", True, 0.7, "30 % better than nothing moves"),
  Threshold("motion64/follows_caption", False, 0.7, "in 70 % of the scenes"),
  Threshold("motion_vae/relative", True, 0.2, "20 % of the motion"),
  Threshold(
    "motion_vae/over_linear", True, 2 / 3, "a third below a linear code"
  ),
  Threshold("depth/relative", True, 0.7, "30 % better than a constant per row"),
  Threshold(
    "vism/hole_psnr", False, "nearest_hole_psnr", "better than nearest colours"
  ),
)


def check_bounds(groups: Mapping[str, Figures]) -> list[str]:
  """One line for each bound whose figure was measured."""
  lines = []
  for bound in BOUNDS:
    group, name = bound.figure.split("/")
    if name not in groups.get(group, {}):
      continue
    value = groups[group][name]
    limit = bound.limit
    number = groups[group][limit] if isinstance(limit, str) else limit
    met = value <= number if bound.below else value >= number
    sign = "at most" if bound.below else "at least"
    lines.append(
      f"{'reached' if met else 'MISSED '} {bound.figure} {value:.4g}, {sign} "
      f"{number:.4g} ({bound.doc})"
    )
  return lines


def show(name: str, figures: Figures, intervals: Intervals) -> None:
  """Prints figures, with what 95 % of repetitions would give beside them."""
  print(f"{name}:", flush=True)
  for key, value in figures.items():
    line = f"  {key:<26}{_text(key, value)}"
    if key in intervals:
      line += f"  {_interval(intervals[key])}"
    print(line, flush=True)


def versions() -> dict[str, str]:
  """Of what computed the figures."""
  return {
    "more4d_jax": more4d_jax.__version__,
    "jax": jax.__version__,
    "numpy": np.__version__,
    "python": platform.python_version(),
    "device": jax.devices()[0].device_kind,
  }


def table_of(out: pathlib.Path) -> pathlib.Path:
  """The file of the table, beside that of the JSON.

  Raises:
    UserError: if the JSON has the table's name.
  """
  table = out.with_suffix(".md")
  if table == out:
    raise errors.UserError(
      f"expected --out with another ending than .md, found {out}: the table "
      "stands beside it in a file of that ending"
    )
  return table


def write(out: pathlib.Path, report: Mapping[str, Any]) -> None:
  """Writes the JSON file, and the table beside it.

  Args:
    out: of the JSON.
    report: as `more4d evaluate` makes it.
  """
  outputs.write_json(out, _plain(report))
  table_of(out).write_text(markdown(report))


def markdown(report: Mapping[str, Any]) -> str:
  """The figures as a table for people, and what they were made with.

  Args:
    report: `checkpoint`, `split`, `seed`, `scenes` (split -> first seed and
      number), `versions`, `hashes`, `figures`, `intervals` and `bounds`.
  """
  lines = [
    f"# Figures on {report['split']}",
    "",
    "| group | figure | value | 95 % of repetitions |",
    "|---|---|---|---|",
  ]
  for group, figures in report["figures"].items():
    known = report["intervals"].get(group, {})
    for name, value in figures.items():
      interval = _interval(known[name]) if name in known else ""
      cells = (group, f"`{name}`", _text(name, value), interval)
      lines.append(f"| {' | '.join(cells)} |")
  if report["bounds"]:
    lines += ["", *(f"- {line}" for line in report["bounds"])]
  made_with = {
    "checkpoint": report["checkpoint"],
    "seed of the noise": report["seed"],
    **{
      f"scenes of {split}": f"{count}, from seed {first} on"
      for split, (first, count) in report["scenes"].items()
    },
    **report["versions"],
    **{f"sha256 of {name}": text for name, text in report["hashes"].items()},
  }
  lines += ["", "| made with | |", "|---|---|"]
  lines += [f"| {name} | {value} |" for name, value in made_with.items()]
  return "\n".join([*lines, ""])


def _text(name: str, value: float) -> str:
  if math.isnan(value) and name in _UNMEASURED:
    return _UNMEASURED[name]
  return f"{value:.4g}"


def _interval(interval: Sequence[float]) -> str:
  low, high = interval
  return f"[{low:.4g}, {high:.4g}]"


def _plain(value: Any) -> Any:
  """The same values, with null for numbers that JSON cannot hold."""
  if isinstance(value, Mapping):
    return {name: _plain(item) for name, item in value.items()}
  if isinstance(value, tuple):
    return [_plain(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
