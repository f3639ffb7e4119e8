"""What main.py does with a configuration: train, evaluate or plan."""

import dataclasses
import os
import sys

import jax

from more4d_jax import errors, locations, registry
from more4d_jax.checkpoints import store, training_states
from more4d_jax.experiment import (
  building,
  held_out,
  model_config,
  plan,
  run_config,
  run_report,
  workdirs,
)
from more4d_jax.experiment import task as tasks
from more4d_jax.planning import devices, report
from more4d_jax.training import loop, runs, stopping
from more4d_jax.training import state as states


def run(
  mode: str,
  config: run_config.RunConfig,
  workdir: str | os.PathLike[str] | None,
  group: str | None = None,
) -> None:
  """Trains, evaluates or plans.

  Args:
    mode: "train", "evaluate" or "plan".
    config: by `config_reader.read`.
    workdir: of the run; "plan" needs none.
    group: devices to plan for, as in "v5p-64"; those of this process when
      left out.

  Raises:
    UserError: for anything the user can mend.
  """
  task = make_task(config)
  if mode == "plan":
    planned = devices.parse(group) if group else devices.here()
    print(report.table(plan.plan(task, planned)))
  elif mode == "evaluate":
    _evaluate(task, locations.path(workdir))
  else:
    root = locations.path(workdir)
    locations.check_writable(root)
    _train(task, root)


def make_task(config: run_config.RunConfig) -> tasks.Task:
  """The task that a configuration names."""
  return registry.NETWORKS[config.task].task_class(config)


def _train(task: tasks.Task, root: locations.Location) -> None:
  config = task.config
  workdirs.check(config, root)
  if _finished(config, root / "model"):
    if jax.process_index() == 0:
      print(f"{root / 'model'} is finished: there is nothing left to train")
    return
  with workdirs.alone(root), stopping.listening(), stopping.at_once():
    opened = task.open(root)
    training = building.training(task, opened)
    # Only now: a mistake that building finds may still be mended.
    workdirs.claim(config, root)
    state = loop.train(training, root)
    finish(task, opened, training, state)
    if jax.process_index() == 0:
      print(f"see {run_report.write(root, training.name)}")


def _finished(config: run_config.RunConfig, model: locations.Location) -> bool:
  """Whether the network is there and was trained for all the steps."""
  if not (model / "network.json").is_file():
    return False
  metadata = store.load_header(model)["metadata"]
  # A network that did not come from training says no number.
  return metadata.get("steps", config.num_steps) >= config.num_steps


def _evaluate(task: tasks.Task, root: locations.Location) -> None:
  """Prints the figures of the newest checkpoint."""
  if not (root / "config.json").is_file():
    raise errors.UserError(
      f"{root} holds no run: train one there first, or name another --workdir"
    )
  workdirs.check(task.config, root)
  training = building.training(task, task.open(root))
  with training_states.TrainingCheckpoints(root / "checkpoints") as checkpoints:
    if checkpoints.latest_step() is None:
      raise errors.UserError(
        f"{root} holds no checkpoint yet: train longer than checkpoint.every"
      )
    state, _ = loop.restore(training, checkpoints)
  figures = loop.evaluate(training, state, root)
  training.loader.close()
  for name, value in figures.items() if jax.process_index() == 0 else ():
    print(f"{name:24s} {value:.6g}")


def finish(
  task: tasks.Task,
  opened: tasks.Opened,
  training: runs.Training,
  state: states.TrainState,
) -> None:
  """Writes the network, averaged if so configured, as `model`.

  What sampling must know stands in its metadata.
  """
  directory = opened.workdir / "model"
  if jax.process_index() == 0:
    print(f"writing {directory}", file=sys.stderr)
  trained = held_out.whole(opened, state.result, training.frozen)
  with jax.set_mesh(training.mesh):
    params = task.assembled(trained)
    metadata = {**task.size, **task.metadata(opened, params)}
  if opened.trained_on:
    metadata["trained_on"] = opened.trained_on
  # Statistics and settings too: equal weights may mean other latents. So may
  # equal weights under another tokenizer.
  network = model_config.portable(task.network)
  facts = {**metadata, "config": dataclasses.asdict(network)}
  if opened.files:
    facts |= opened.tokenizer.facts
  metadata["identity"] = store.fingerprint(params, facts)
  metadata["steps"] = int(state.step)
  task.write_beside(trained, directory.parent)
  store.save_network(directory, params, network, metadata, opened.files)
