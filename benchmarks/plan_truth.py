"""A plan's bytes against the resident memory of the step that it plans.

Run from the repository: PYTHONPATH=. python benchmarks/plan_truth.py
It compiles and runs one train step on one CPU device, in a process of its
own, and prints one JSON line. `measured` is the largest resident memory while
the step runs, above what is resident before its arguments are made.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from more4d_jax import partitioning
from more4d_jax.cli import plan as plan_command
from more4d_jax.experiment import building, run
from more4d_jax.planning import programs


def _status(name: str) -> int:
  """A figure of /proc/self/status in bytes."""
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith(f"{name}:"):
      return int(line.split()[1]) * 1024
  raise KeyError(name)


def _made(tree):
  """Arrays of these shapes whose pages have been touched."""
  return jax.block_until_ready(
    jax.tree.map(
      lambda x: jax.device_put(np.ones(x.shape, x.dtype), x.sharding), tree
    )
  )


def measure(config: str, fields: list[str]) -> dict[str, float]:
  """Compiles and runs a step.

  Args:
    config: as of `more4d plan --config`.
    fields: as of its `--set`.
  """
  task = run.make_task(plan_command.read_config(config, fields))
  mesh = partitioning.make_mesh(partitioning.MeshConfig(), jax.devices()[:1])
  step = building.train_step(task, mesh)
  compiled = step.trace().lower().compile()
  stats = compiled.memory_analysis()
  planned = (
    stats.argument_size_in_bytes
    + stats.output_size_in_bytes
    - stats.alias_size_in_bytes
    + stats.temp_size_in_bytes
  )
  held = programs.held_bytes((step.state, step.frozen, step.batch))
  before = _status("VmRSS")
  arguments = _made((step.state, step.frozen, step.batch))
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # Resets the maximum.
  jax.block_until_ready(compiled(*arguments))
  measured = _status("VmHWM") - before
  return {
    "config": config,
    "held": held,
    "planned": planned,
    "measured": measured,
    "measured_over_planned": round(measured / planned, 3),
  }


def main(arguments: list[str]) -> None:
  """Prints the line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="configs/vism.py:size=small")
  parser.add_argument("--set", nargs="*", default=[])
  flags = parser.parse_args(arguments)
  print(json.dumps(measure(flags.config, flags.set)))


if __name__ == "__main__":
  main(sys.argv[1:])
