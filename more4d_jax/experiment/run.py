"""What main.py does with a configuration: train, evaluate or plan."""

import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from more4d_jax import errors, partitioning, registry, rng
from more4d_jax.checkpoints import store, training_states
from more4d_jax.data import loader as loaders
from more4d_jax.experiment import plan, record_splits, settings
from more4d_jax.experiment import task as tasks
from more4d_jax.training import loop, optimizer, paths, prefetch
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

# Evaluation draws with keys that training never uses.
_EVALUATION_SEED = 7_919


def run(
  mode: str,
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str] | None,
) -> None:
  """Trains, evaluates or plans.

  Args:
    mode: "train", "evaluate" or "plan".
    config: locked; see configs/.
    workdir: of the run; "plan" needs none.

  Raises:
    UserError: for anything the user can mend.
  """
  task = make_task(config, workdir)
  if mode == "plan":
    print(plan.describe(task, settings.mesh_config(config)))
    return
  root = pathlib.Path(workdir)
  if mode == "evaluate":
    _evaluate(task, root)
    return
  settings.check_workdir(config, root)
  if _finished(config, root / "model"):
    print(f"{root / 'model'} is finished: there is nothing left to train")
    return
  training = prepare(task)
  # Only now: a mistake that `prepare` finds may still be mended.
  settings.claim_workdir(config, root)
  state = loop.train(training, root)
  finish(task, training, state, root / "model")


def _finished(config: ml_collections.ConfigDict, model: pathlib.Path) -> bool:
  """Whether the network is there and was trained for all the steps."""
  if not (model / "network.json").is_file():
    return False
  metadata = store.load_header(model)["metadata"]
  # A network that did not come from training says no number.
  return metadata.get("steps", config.num_steps) >= config.num_steps


def make_task(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike[str] | None
) -> tasks.Task:
  """Makes the task a configuration names.

  Raises:
    UserError: for an unknown task.
  """
  if config.task not in registry.NETWORKS:
    raise errors.UserError(
      f"task is {config.task!r}: choose one of {', '.join(registry.NETWORKS)}"
    )
  root = None if workdir is None else pathlib.Path(workdir)
  return registry.NETWORKS[config.task].task_class(config, root)


def _mesh(config: ml_collections.ConfigDict) -> Mesh:
  try:
    mesh = partitioning.make_mesh(settings.mesh_config(config))
  except ValueError as error:
    raise errors.UserError(str(error)) from error
  parts = mesh.shape["data"] * mesh.shape["fsdp"]
  if config.batch_size % parts:
    raise errors.UserError(
      f"batch_size is {config.batch_size}, but mesh.data * mesh.fsdp = {parts} "
      "devices share it: use a multiple"
    )
  return mesh


def prepare(task: tasks.Task) -> loop.Training:
  """Loads, opens and compiles everything that the loop needs, each once."""
  config = task.config
  mesh, loop_config = _mesh(config), settings.loop_config(config)
  optimizer_config = settings.optimizer_config(config)
  dit = getattr(task.network, "dit", None)
  if dit is not None:
    settings.check_kernels(dit.layer, mesh)
  task.prepare()
  init = functools.partial(task.objective.init, rng.key(config.seed, "init"))
  with jax.set_mesh(mesh):  # Kernels say what they choose on its devices.
    shapes = jax.eval_shape(init)
  trained, still = paths.split(shapes, task.trainable)
  chain = optimizer.make_optimizer(
    optimizer_config, config.num_steps, task.multipliers
  )
  window = optimizer_config.window
  abstract = states.abstract_state(trained, chain, window)
  place = states.state_shardings(mesh, abstract)

  @functools.cache
  def params() -> tuple[Any, Any]:
    full = states.create_params(init, mesh, task.loaded())
    return paths.split(full, task.trainable)

  frozen = params()[1] if still else {}
  step = steps.make_step(_loss(task), chain, optimizer_config, config.seed)
  train_set = task.train_set()
  return loop.Training(
    name=f"{config.task} {config.size}",
    mesh=mesh,
    create=lambda: states.create_state(
      params()[0], trained, chain, mesh, window
    ),
    abstract=states.abstract_with_shardings(place, abstract),
    step=steps.jit_step(step, mesh, place, partitioning.shardings(mesh, still)),
    frozen=frozen,
    loader=loaders.make_loader(
      train_set.source, train_set.transform, _loader_config(config)
    ),
    evaluators=_evaluators(task, mesh, frozen),
    config=loop_config,
    seed=config.seed,
    trained_on=task.trained_on,
  )


def _loader_config(config: ml_collections.ConfigDict) -> loaders.LoaderConfig:
  return loaders.LoaderConfig(
    global_batch=config.batch_size,
    seed=config.seed,
    shuffle=config.data.shuffle,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    workers=config.data.workers,
    threads=config.data.threads,
    parts=record_splits.parts(config.data),
    max_damaged=config.data.max_damaged,
  )


def _loss(task: tasks.Task) -> steps.LossFn:
  objective = task.objective

  def loss(trained: Any, frozen: Any, batch: Any, keys: steps.Keys) -> Any:
    return objective.loss(paths.merge(trained, frozen), batch, keys)

  return loss


def _evaluators(
  task: tasks.Task, mesh: Mesh, frozen: Any
) -> list[loop.Evaluator]:
  """The loss on held-out examples, then the figures of the task itself."""
  compiled = jax.jit(_evaluation_loss(_loss(task), task.config.seed))
  held = task.held_out()  # Now: unusable records show before any training.

  def losses(
    state: states.TrainState, step: int, folder: pathlib.Path
  ) -> dict[str, float]:
    del step, folder
    found: list[dict[str, float]] = []
    with jax.set_mesh(mesh):
      for number, batch in enumerate(_held_out_batches(task, held, mesh)):
        values = compiled(state.ema, frozen, batch, jnp.int32(number))
        found.append(jax.device_get(values))
    return {
      name: float(np.mean([values[name] for values in found]))
      for name in found[0]
    }

  def look(
    state: states.TrainState, step: int, folder: pathlib.Path
  ) -> Mapping[str, float]:
    params = task.assembled(_host(state.ema, frozen))
    return task.look(params, step, folder)

  return [losses, look]


def _evaluation_loss(loss: steps.LossFn, seed: int) -> Any:
  def evaluate(trained: Any, frozen: Any, batch: Any, number: Any) -> Any:
    keys = steps.Keys(seed + _EVALUATION_SEED, number)
    value, metrics = loss(trained, frozen, batch, keys)
    return {"loss": value, **metrics}

  return evaluate


def _held_out_batches(task: tasks.Task, held: tasks.DataSet, mesh: Mesh) -> Any:
  config = task.config
  source = record_splits.cycled(
    held.source, config.evaluation.records, config.batch_size
  )
  share = config.batch_size // jax.process_count()
  first = share * jax.process_index()
  for batch in loaders.batches_in_order(
    source, held.transform, config.batch_size
  ):
    mine = {n: v[first : first + share] for n, v in batch.items()}
    yield prefetch.to_mesh(mine, mesh)


def _host(trained: Any, frozen: Any) -> Any:
  """Gathers a network's parameters in host memory."""
  return jax.device_get(paths.merge(trained, frozen))


def _evaluate(task: tasks.Task, root: pathlib.Path) -> None:
  """Prints the figures of the newest checkpoint."""
  if not (root / "config.json").is_file():
    raise errors.UserError(
      f"{root} holds no run: train one there first, or name another --workdir"
    )
  settings.check_workdir(task.config, root)
  training = prepare(task)
  checkpoints = training_states.TrainingCheckpoints(
    root / "checkpoints", keep=training.config.checkpoint_keep
  )
  if checkpoints.latest_step() is None:
    raise errors.UserError(
      f"{root} holds no checkpoint yet: train longer than checkpoint.every"
    )
  state, _ = loop.restore(training, checkpoints)
  figures = loop.evaluate(training, state, root)
  training.loader.close()
  for name, value in figures.items():
    print(f"{name:24s} {value:.6g}")


def finish(
  task: tasks.Task,
  training: loop.Training,
  state: states.TrainState,
  directory: pathlib.Path,
) -> None:
  """Writes the averaged network with what sampling must know."""
  print(f"writing {directory}", file=sys.stderr)
  trained = _host(state.ema, training.frozen)
  params = task.assembled(trained)
  metadata = {
    **task.size,
    **task.metadata(params),
    **({"trained_on": task.trained_on} if task.trained_on else {}),
  }
  # Statistics and settings too: equal weights may mean other latents.
  network = settings.portable(task.network)
  facts = {**metadata, "config": dataclasses.asdict(network)}
  metadata["identity"] = store.fingerprint(params, facts)
  metadata["steps"] = int(state.step)
  task.write_beside(trained, directory.parent)
  store.save_network(directory, params, network, metadata)
