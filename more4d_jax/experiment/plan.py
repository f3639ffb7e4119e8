"""What one train step of a task needs, before a device is booked."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh

from more4d_jax import errors, partitioning, registry, rng
from more4d_jax.experiment import building, run_config
from more4d_jax.experiment import task as tasks
from more4d_jax.planning import devices, programs, report, search
from more4d_jax.training import optimizer, paths
from more4d_jax.training import state as states


def plan(task: tasks.Task, group: devices.Group) -> report.Plan:
  """Compiles the train step of a task for devices that need not be there.

  No file is read and no array is made.

  Args:
    task: what is trained; `mesh` of its configuration says how devices are
      laid out.
    group: of devices.

  Raises:
    UserError: if the mesh does not divide devices, batch or heads.
  """
  opened, remark = devices.open_devices(group)
  return _compiled(task, group, opened, remark)


def _compiled(
  task: tasks.Task,
  group: devices.Group,
  opened: Sequence[jax.Device],
  remark: str,
) -> report.Plan:
  mesh = building.make_mesh(task.config, opened)
  step = building.train_step(task, mesh)
  figures = programs.compile_program(
    programs.Program(
      name=f"{task.config.task} {task.config.size}",
      mesh=mesh,
      trace=step.trace,
      held={
        "parameters": step.state.params,
        "averaged parameters": step.state.ema,
        "optimizer": step.state.optimizer,
        "frozen parameters": step.frozen,
        "batch": step.batch,
        "counters": (
          step.state.step,
          step.state.skipped,
          step.state.history,
        ),
      },
    )
  )
  gradients = figures.held["parameters"]
  counts = (
    f"{_count(step.state.params):,} trained and {_count(step.frozen):,} "
    "frozen parameters"
  )
  beside = f"gradients are {report.gib(gradients)} GiB of the temporaries"
  remarks = [counts, beside, *([remark] if remark else [])]
  if getattr(task.config.data, "conditions", "cached") == "online":
    remarks.append(
      "conditions are made online: the networks that make them, and what they "
      "compute, come on top"
    )
  return report.Plan(
    title=_title(task.config, mesh),
    group=group,
    figures=figures,
    remarks=remarks,
    advice=_advice(task.config, mesh, figures),
  )


def _title(config: run_config.RunConfig, mesh: Mesh | AbstractMesh) -> str:
  text = (
    f"{config.task} {config.size}: one step on a batch of {config.batch_size}, "
    f"mesh {report.sizes(mesh)}"
  )
  return text if _remat(config) is not False else f"{text}, remat off"


def _remat(config: run_config.RunConfig) -> bool | None:
  """Whether layers are recomputed; None for tasks without the choice."""
  return getattr(getattr(config, "model", None), "remat", None)


def _count(tree: Any) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _advice(
  config: run_config.RunConfig, mesh: Mesh, figures: programs.Figures
) -> str:
  """What to change first where a step does not fit."""
  samples = config.batch_size // (mesh.shape["data"] * mesh.shape["fsdp"])
  held = sum(figures.held.values())
  if figures.temporaries + figures.refused > held:
    if _remat(config) is False:
      return "set model.remat to True"
    if samples > 1:
      return f"lower batch_size: each device has {samples} samples"
    return "raise mesh.context or mesh.tensor, or take more devices"
  if mesh.shape["data"] > 1:
    return "move devices from mesh.data to mesh.fsdp, or use --search"
  lora = hasattr(getattr(config, "model", None), "lora_rank")
  if lora and figures.held["parameters"] > figures.held["frozen parameters"]:
    return "train a LoRA (model.lora_rank), or take more devices"
  return "take more or larger devices, or use --search"


def best(
  task: tasks.Task,
  group: devices.Group,
  tries: int,
  say: Callable[[str], None] = print,
) -> list[report.Plan]:
  """The fastest ways found to train on these devices, see `search.best`.

  Every mesh of so many devices is looked at, layers recomputed and not.

  Raises:
    UserError: if nothing fits.
  """
  opened, remark = devices.open_devices(group)
  trees = _shapes(task)
  candidates = []
  for config in _variations(task, opened):
    mesh = AbstractMesh(
      tuple(dataclasses.astuple(config.mesh)), partitioning.MESH_AXES
    )
    changed = registry.NETWORKS[config.task].task_class(config)
    label = _title(config, mesh).partition("mesh ")[2]
    candidates.append(
      search.Candidate(
        label=label,
        held=sum(partitioning.bytes_per_device(mesh, t) for t in trees),
        cost=(*search.mesh_cost(config.mesh), _remat(config) is False),
        plan=functools.partial(_compiled, changed, group, opened, remark),
      )
    )
  return search.best(candidates, group.memory, tries, say=say)


def _shapes(task: tasks.Task) -> list[Any]:
  """Boxed shapes of all that a step holds but for its batch."""
  objective = task.objective()
  abstract = jax.eval_shape(lambda: objective.init(rng.key(0, "init")))
  trained, frozen = paths.split(abstract, task.trainable)
  chain = optimizer.make_optimizer(
    task.config.optimizer, task.config.num_steps, task.multipliers
  )
  return [states.abstract_state(trained, chain), frozen]


def _variations(
  task: tasks.Task, opened: Sequence[jax.Device]
) -> Iterator[run_config.RunConfig]:
  """Configurations that the devices and the network's heads allow."""
  remats = (True,) if _remat(task.config) is None else (True, False)
  for mesh in search.meshes(len(opened)):
    for remat in remats:
      config = dataclasses.replace(task.config, mesh=mesh)
      if _remat(config) is not None:
        model = dataclasses.replace(config.model, remat=remat)
        config = dataclasses.replace(config, model=model)
      if _divides(task, config, opened):
        yield config


def _divides(
  task: tasks.Task,
  config: run_config.RunConfig,
  opened: Sequence[jax.Device],
) -> bool:
  try:
    mesh = building.make_mesh(config, opened)
    dit = getattr(task.network, "dit", None)
    if dit is not None:
      building.check_kernels(dit.layer, mesh)
  except errors.UserError:
    return False
  tensor, context = config.mesh.tensor, config.mesh.context
  if config.task == "depth":  # It has no axes that these divide.
    return tensor == context == 1
  if dit is None:  # Autoencoders divide frames over them.
    return True
  return dit.num_heads % tensor == 0
