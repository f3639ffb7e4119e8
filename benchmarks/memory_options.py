"""What options of memory cost and save in a train step.

PYTHONPATH=. python benchmarks/memory_options.py --part remat --size small
PYTHONPATH=. python benchmarks/memory_options.py --part rounding --size tiny

`remat`: bytes that XLA says and seconds of a step of STraG for each policy.
`rounding`: the mean loss of the last steps of a training on made-up latents,
for moments and parameters in fewer bits, against float32.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import strag
from more4d_jax.experiment import building, config_reader, run
from more4d_jax.experiment import task as tasks
from more4d_jax.models import remat
from more4d_jax.training import memory, paths
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

_SAMPLES = 64
_ROUNDINGS = (
  {},
  {"moments": "bfloat16"},
  {"moments": "8bit"},
  {"parameters": "bfloat16"},
  {"parameters": "bfloat16", "moments": "8bit"},
)


def _task(size: str, batch: int, **changes: str) -> tasks.Task:
  config = strag.get_config(f"size={size}")
  config.batch_size = batch
  config.mesh.update(data=1, fsdp=1)
  config.memory.update(changes)
  config.optimizer.warmup_steps = 20
  config.optimizer.ema_decay = 0.0
  return run.make_task(config_reader.read(config))


def _samples(task: tasks.Task, count: int) -> dict[str, np.ndarray]:
  """Made-up examples: motion that follows from the picture's latents."""
  rng = np.random.default_rng(0)
  found = {}
  for name, leaf in task.example.items():
    shape = (count, *leaf.shape)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
      found[name] = rng.standard_normal(shape).astype(leaf.dtype)
    else:
      found[name] = rng.integers(0, 200, shape).astype(leaf.dtype)
  found["motion_mean"] = np.roll(found["control"], 1, axis=-1)
  found["motion_logvar"] -= 8
  return found


def _start(task: tasks.Task) -> tuple[building.TrainStep, Any, Any]:
  """The step, its first state and what is frozen, on one device."""
  mesh = building.make_mesh(task.config, jax.devices()[:1])
  step = building.train_step(task, mesh)
  full = states.create_params(step.init, mesh, {})
  trained, frozen = paths.split(full, task.trainable)
  state = states.create_state(
    trained, step.trained, step.chain, mesh, task.config.kept
  )
  return step, state, frozen


def _remat(size: str, batch: int, repeats: int) -> Iterator[dict[str, Any]]:
  for policy in remat.POLICIES:
    task = _task(size, batch, remat=policy)
    step, state, frozen = _start(task)
    compiled = step.trace().lower().compile()
    stats = compiled.memory_analysis()
    rows = {k: jnp.asarray(v) for k, v in _samples(task, batch).items()}
    seconds = []
    for _ in range(repeats + 1):
      begin = time.perf_counter()
      state, values = compiled(state, frozen, rows)
      jax.block_until_ready(values)
      seconds.append(time.perf_counter() - begin)
    yield {
      "policy": policy,
      "temporaries": stats.temp_size_in_bytes,
      "arguments": stats.argument_size_in_bytes,
      "seconds": min(seconds[1:]),
    }


def _rounding(size: str, batch: int, count: int) -> Iterator[dict[str, Any]]:
  exact = None
  for changes in _ROUNDINGS:
    task = _task(size, batch, **changes)
    step, state, frozen = _start(task)
    run_step = steps.under_mesh(step.jitted, step.mesh)
    samples = _samples(task, _SAMPLES)
    losses = []
    for number in range(count):
      first = number * batch % _SAMPLES
      rows = {k: v[first : first + batch] for k, v in samples.items()}
      state, values = run_step(state, frozen, jax.tree.map(jnp.asarray, rows))
      losses.append(float(values["loss"]))
    last = float(np.mean(losses[-count // 5 :]))
    exact = last if exact is None else exact
    changed = dataclasses.replace(memory.MemoryConfig(), **changes)
    yield {
      "parameters": changed.parameters,
      "moments": changed.moments,
      "first": losses[0],
      "last": last,
      "ratio": last / exact,
    }


def main() -> None:
  """Prints a line of JSON for each choice."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--part", choices=("remat", "rounding"), required=True)
  parser.add_argument("--size", default="small")
  parser.add_argument("--batch", type=int, default=2)
  parser.add_argument("--count", type=int, default=300)
  parser.add_argument("--repeats", type=int, default=3)
  options = parser.parse_args()
  if options.part == "remat":
    lines = _remat(options.size, options.batch, options.repeats)
  else:
    lines = _rounding(options.size, options.batch, options.count)
  for line in lines:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
  main()
