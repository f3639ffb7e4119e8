"""How good a network is on records that it is not trained on."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from more4d_jax import locations, partitioning
from more4d_jax.conditions import cache
from more4d_jax.data import loader as loaders
from more4d_jax.experiment import record_splits
from more4d_jax.experiment import task as tasks
from more4d_jax.training import paths, prefetch, runs
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

# Evaluation draws with keys that training never uses.
_EVALUATION_SEED = 7_919


def evaluators(
  task: tasks.Task,
  opened: tasks.Opened,
  loss: steps.LossFn,
  mesh: Mesh,
  frozen: Any,
  encode: cache.Encode | None = None,
) -> list[runs.Evaluator]:
  """The loss on held-out examples, then the task's own evaluation.

  Args:
    task: what is trained.
    opened: by it.
    loss: of the task.
    mesh: where states are.
    frozen: parameters of a step that are not trained, on the mesh.
    encode: what makes a batch one that the loss takes, if there is a need.
  """
  compiled = jax.jit(_evaluation_loss(loss, task.config.seed))
  held = task.held_out(opened)  # Now: bad records show before any training.

  def losses(
    state: states.TrainState, step: int, folder: locations.Location
  ) -> dict[str, float]:
    del step, folder
    found: list[steps.Measured] = []
    with jax.set_mesh(mesh):
      trained = state.result
      for number, batch in enumerate(_batches(task, held, mesh)):
        taken = batch if encode is None else encode(batch)
        values = compiled(trained, frozen, taken, np.int32(number))
        found.append(partitioning.fetch(values))
    mean = jax.tree.map(lambda *values: jnp.mean(jnp.asarray(values)), *found)
    return {name: float(v) for name, v in steps.finished(mean).items()}

  def evaluate(
    state: states.TrainState, step: int, folder: locations.Location
  ) -> Mapping[str, float]:
    with jax.set_mesh(mesh):
      params = task.assembled(whole(opened, state.result, frozen))
      return task.evaluate(opened, params, step, folder)

  return [losses, evaluate]


def _evaluation_loss(loss: steps.LossFn, seed: int) -> Any:
  def evaluate(trained: Any, frozen: Any, batch: Any, number: Any) -> Any:
    keys = steps.Keys(seed + _EVALUATION_SEED, number)
    value, metrics = loss(trained, frozen, batch, keys)
    return {"loss": value, **metrics}

  return evaluate


def _batches(
  task: tasks.Task, held: tasks.DataSet, mesh: Mesh
) -> Iterator[Any]:
  """Whole batches of held-out examples on the mesh."""
  config = task.config
  source = record_splits.cycled(
    held.source, config.evaluation.records, config.batch_size
  )
  rows = list(partitioning.batch_rows(mesh, config.batch_size))
  for batch in loaders.batches_in_order(
    source, held.transform, config.batch_size
  ):
    mine = {name: value[rows] for name, value in batch.items()}
    yield prefetch.to_mesh(mine, mesh)


def whole(opened: tasks.Opened, trained: Any, frozen: Any) -> Any:
  """All parameters of a network.

  What is not trained is as exact as where it came from, and is still on disk
  where the network was started from another.

  Args:
    opened: by the task.
    trained: on the mesh, where they stay.
    frozen: what else is on the mesh.
  """
  rest = {**frozen, **opened.outside}
  if opened.start is not None:
    rest = _taken(opened.start.params, rest)
  return paths.merge(trained, rest)


def _taken(start: Any, like: Any) -> Any:
  """The parameters of a network where it has those of another tree."""
  if not isinstance(like, Mapping):
    return start
  return {
    name: _taken(start[name], inner) if name in start else inner
    for name, inner in like.items()
  }
