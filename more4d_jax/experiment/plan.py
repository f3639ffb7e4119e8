"""Parameters and memory that a run will need, from shapes alone."""

import math
from typing import Any

import jax

from more4d_jax import errors, partitioning, rng
from more4d_jax.experiment import task as tasks
from more4d_jax.training import optimizer, paths
from more4d_jax.training import state as states


def describe(task: tasks.Task) -> str:
  """Returns a table of parameters and of bytes on each device.

  No file is read. In the section `mesh`, -1 stands for the devices of this
  machine.
  """
  config, objective = task.config, task.objective()
  mesh = _abstract_mesh(config.mesh)
  abstract = jax.eval_shape(lambda: objective.init(rng.key(0, "init")))
  trained, frozen = paths.split(abstract, task.trainable)
  chain = optimizer.make_optimizer(
    config.optimizer, config.num_steps, task.multipliers
  )
  state = states.abstract_state(trained, chain)
  rows = {
    "trained parameters": trained,
    "averaged parameters": trained,
    "optimizer": state.optimizer,
    "frozen parameters": frozen,
    "gradients": trained,
  }
  sizes = {
    name: partitioning.bytes_per_device(mesh, tree)
    for name, tree in rows.items()
  }
  shape = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
  lines = [
    f"{config.task} {config.size}: {_count(trained):,} trained and "
    f"{_count(frozen):,} frozen parameters",
    f"mesh: {shape}",
    "bytes on each device:",
    *(f"  {name:20s} {size:>16,}" for name, size in sizes.items()),
    f"  {'together':20s} {sum(sizes.values()):>16,}",
    "activations come on top; gradients live during a step only",
  ]
  for name, part in partitioning.unbox(abstract).items():
    lines.append(f"  {name:20s} {_count(part):>16,} parameters")
  return "\n".join(lines)


def _count(tree: Any) -> int:
  leaves = jax.tree.leaves(partitioning.unbox(tree))
  return sum(math.prod(leaf.shape) for leaf in leaves)


def _abstract_mesh(
  config: partitioning.MeshConfig,
) -> jax.sharding.AbstractMesh:
  """A mesh of any size; no device is needed."""
  shape = [getattr(config, name) for name in partitioning.MESH_AXES]
  known = math.prod(size for size in shape if size != -1)
  if shape.count(-1) > 1 or known < 1:
    raise errors.UserError(
      f"mesh sizes are {shape}: expected positive numbers, at most one -1"
    )
  rest = max(jax.device_count() // known, 1)
  shape = [rest if size == -1 else size for size in shape]
  return jax.sharding.AbstractMesh(tuple(shape), partitioning.MESH_AXES)
