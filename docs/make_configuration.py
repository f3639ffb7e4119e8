"""Writes docs/configuration.md, the table of all fields of configs/.

python docs/make_configuration.py
"""

import ast
import dataclasses
import importlib
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
TASKS = ("video_vae", "depth", "motion_vae", "strag", "vism")
# Function of configs/common.py -> section that its fields stand in.
_SECTIONS = {"transformer": "model", "conditions": "data"}
_OBJECTIVES = "more4d_jax.training.objectives"
# Section, of a task or of all -> dataclass that describes its fields.
_CLASSES = {
  "optimizer": ("more4d_jax.training.optimizer", "OptimizerConfig"),
  "memory": ("more4d_jax.training.memory", "MemoryConfig"),
  "flow": ("more4d_jax.models.flow_matching", "FlowConfig"),
  "video_vae/loss": (f"{_OBJECTIVES}.video_vae", "VideoLoss"),
  "depth/loss": (f"{_OBJECTIVES}.depth", "DepthLoss"),
  "motion_vae/loss": (f"{_OBJECTIVES}.motion_vae", "MotionLoss"),
  "strag/dropout": (f"{_OBJECTIVES}.strag", "STraGDropout"),
  "vism/dropout": (f"{_OBJECTIVES}.vism", "ViSMDropout"),
  "strag/depth": ("more4d_jax.conditions.latents", "DepthShares"),
  "vism/conditions": ("more4d_jax.conditions.rendered_views", "FilmOptions"),
}
_HEAD = """# Configuration

Every field of `configs/`, with its value at each size. This page is made by
`python docs/make_configuration.py`, and a test fails when it is not current.
`--config.FIELD=VALUE` changes a field:

```sh
python main.py --config=configs/strag.py:size=tiny --workdir=runs/strag \\
  --config.data.records=records/light \\
  --config.init_from.motion_vae=runs/motion_vae \\
  --config.optimizer.learning_rate=3e-4
```

`size` is one of {sizes}. The ablations in
`configs/ablations/` change a few of these fields, see
[Experiments](experiments.md).
"""


def comments(path: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Yields (field, comment) of the assignments in a configuration file.

  A comment stands behind its assignment or on the lines right before it.
  """
  text = path.read_text()
  lines = text.splitlines()
  for function in ast.parse(text).body:
    if not isinstance(function, ast.FunctionDef):
      continue
    section = _SECTIONS.get(function.name, function.name)
    for node in ast.walk(function):
      if not isinstance(node, ast.Assign):
        continue
      root, _, name = ast.unparse(node.targets[0]).partition(".")
      behind = re.search(r"  # (.*)$", lines[node.end_lineno - 1])
      before = _before(lines, node.lineno - 1)
      comment = behind.group(1) if behind else before
      if name and comment:
        prefix = f"{section}." if root == "section" else ""
        yield prefix + name, comment


def _before(lines: list[str], index: int) -> str:
  """The comment on the lines that end right before a line."""
  found: list[str] = []
  while index and (match := re.match(r"\s*# (.*)$", lines[index - 1])):
    found.insert(0, match.group(1))
    index -= 1
  return " ".join(found)


def _documented(module: str, name: str) -> dict[str, str]:
  """The section "Attributes" of a class's docstring."""
  text = getattr(importlib.import_module(module), name).__doc__
  text = text.partition("Attributes:\n")[2]
  entries = re.findall(
    r"^    (\w[\w, ]*): ((?:.*\n)(?:      .*\n)*)", text, re.M
  )
  return {
    field: " ".join(meaning.split())
    for fields, meaning in entries
    for field in fields.split(", ")
  }


def meanings(task: str) -> dict[str, str]:
  """Field -> what it means, for the configuration of a task."""
  from more4d_jax.sampling import sampler_options

  found = {
    f"sampling.{name}": option.help
    for name, option in sampler_options.OPTIONS.items()
  }
  for file in ("common", task):
    found |= dict(comments(ROOT / "configs" / f"{file}.py"))
  for place, source in _CLASSES.items():
    owner, _, section = place.rpartition("/")
    if owner in ("", task):
      for name, meaning in _documented(*source).items():
        found[f"{section}.{name}"] = meaning
  return found


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields the dotted names and values of a configuration."""
  for name, value in config.items():
    if hasattr(value, "items"):
      yield from fields(value, f"{prefix}{name}.")
    else:
      yield prefix + name, value


@dataclasses.dataclass(frozen=True)
class Field:
  """A row of a table: its meaning, and its value at each size."""

  meaning: str
  values: Mapping[str, Any]


def table(task: str, sizes: tuple[str, ...]) -> dict[str, Field]:
  """Field -> row, for a task.

  Raises:
    KeyError: a field that nothing describes.
  """
  module = importlib.import_module(f"configs.{task}")
  configs = {
    size: dict(fields(module.get_config(f"size={size}"))) for size in sizes
  }
  described = meanings(task)
  rows = {}
  for name in configs[sizes[0]]:
    if name not in described:
      raise KeyError(f"no comment beside {name} in configs/{task}.py")
    values = {size: configs[size][name] for size in sizes}
    rows[name] = Field(described[name], values)
  return rows


def _value(values: Mapping[str, Any]) -> str:
  """Equal values once; otherwise each with the sizes that have it."""
  sizes: dict[str, list[str]] = {}
  for size, value in values.items():
    sizes.setdefault(f"`{value!r}`", []).append(size)
  if len(sizes) == 1:
    return next(iter(sizes))
  return ", ".join(f"{value} ({', '.join(at)})" for value, at in sizes.items())


def _render(rows: Mapping[str, Field]) -> str:
  lines = ["| field | value | meaning |", "|---|---|---|"]
  for name, field in rows.items():
    meaning = field.meaning.replace("|", "\\|")
    meaning = meaning[:1].upper() + meaning[1:]
    lines.append(f"| `{name}` | {_value(field.values)} | {meaning} |")
  return "\n".join(lines) + "\n"


def text() -> str:
  """The whole page."""
  from configs import common

  sizes = common.SIZES
  tables = {task: table(task, sizes) for task in TASKS}
  shared = {
    name: row
    for name, row in tables[TASKS[0]].items()
    if name not in ("task", "size")
    and all(rows.get(name) == row for rows in tables.values())
  }
  named = ", ".join(f"`{size}`" for size in sizes)
  parts = [_HEAD.format(sizes=named)]
  parts += ["## Every task\n", _render(shared)]
  for task, rows in tables.items():
    own = {
      name: row
      for name, row in rows.items()
      if name not in shared and name not in ("task", "size")
    }
    summary = importlib.import_module(f"configs.{task}").__doc__
    parts += [f"## {task}\n", summary.partition("\n")[0] + "\n", _render(own)]
  return "\n".join(parts)


if __name__ == "__main__":
  sys.path.insert(0, str(ROOT))
  (ROOT / "docs" / "configuration.md").write_text(text())
