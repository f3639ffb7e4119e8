"""What one train step of a task needs, before a device is booked."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh

from more4d_jax import errors, partitioning, registry
from more4d_jax.experiment import building, run_config
from more4d_jax.experiment import task as tasks
from more4d_jax.planning import devices, programs, report, search
from more4d_jax.training import memory as memory_lib
from more4d_jax.training import paths
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
  return report.Plan(
    title=_title(task.config, mesh),
    group=group,
    figures=figures,
    remarks=[*_remarks(task.config, step), *([remark] if remark else [])],
    advice=_advice(task.config, mesh, figures),
  )


def _remarks(
  config: run_config.RunConfig, step: building.TrainStep
) -> list[str]:
  """What the table of bytes does not say."""
  params = step.state.params
  exact = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, "float32", sharding=leaf.sharding
    ),
    params,
  )
  found = [
    f"{_count(params):,} trained and {_count(step.frozen):,} frozen parameters",
    f"gradients are {report.gib(programs.held_bytes(exact))} GiB of the "
    "temporaries",
  ]
  if getattr(config.data, "conditions", "cached") == "online":
    found.append(
      "conditions are made online: the networks that make them, and what they "
      "compute, come on top"
    )
  return found


def _title(config: run_config.RunConfig, mesh: Mesh | AbstractMesh) -> str:
  text = (
    f"{config.task} {config.size}: one step on a batch of {config.batch_size}, "
    f"mesh {report.sizes(mesh)}"
  )
  plain = dataclasses.asdict(memory_lib.MemoryConfig())
  changed = [
    f"{name} {value}"
    for name, value in dataclasses.asdict(config.memory).items()
    if value != plain[name]
  ]
  return ", ".join([text, *changed])


def _count(tree: Any) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _advice(
  config: run_config.RunConfig, mesh: Mesh, figures: programs.Figures
) -> str:
  """What to change first where a step does not fit."""
  held = sum(figures.held.values())
  if figures.temporaries + figures.refused > held:
    return _less_at_once(config, mesh)
  if mesh.shape["data"] > 1:
    return "move devices from mesh.data to mesh.fsdp, or use --search"
  lora = hasattr(getattr(config, "model", None), "lora_rank")
  if lora and figures.held["parameters"] > figures.held["frozen parameters"]:
    return "train a LoRA (model.lora_rank), or take more devices"
  if config.memory.moments == "float32":
    return "set memory.moments to bfloat16 or 8bit"
  return "take more or larger devices, or use --search"


def _less_at_once(config: run_config.RunConfig, mesh: Mesh) -> str:
  """What to change first where temporaries are most of what is needed."""
  memory, parts = config.memory, mesh.shape["data"] * mesh.shape["fsdp"]
  if memory.remat != "full":
    return "set memory.remat to full"
  samples = config.batch_size // memory.accumulate // parts
  if samples > 1:
    return (
      f"raise memory.accumulate: each device works on {samples} samples at once"
    )
  return "raise mesh.context or mesh.tensor, or take more devices"


def best(
  task: tasks.Task,
  group: devices.Group,
  tries: int,
  say: Callable[[str], None] = print,
) -> list[report.Plan]:
  """The fastest ways found to train on these devices, see `search.best`.

  Every mesh of so many devices is looked at, with more and less kept for the
  backward pass, a batch at once and a sample at a time; then the same with
  moments, the average and parameters that take fewer bytes.

  Raises:
    UserError: if nothing fits.
  """
  opened, remark = devices.open_devices(group)
  candidates, seen = [], set()
  for rank, saving in enumerate(_SAVINGS):
    memory = dataclasses.replace(task.config.memory, **saving)
    if not task.config.optimizer.averages:
      memory = dataclasses.replace(memory, average="device")
    if memory in seen:
      continue
    seen.add(memory)
    config = dataclasses.replace(task.config, memory=memory)
    candidates += _candidates(_task(config), group, opened, remark, rank)
  return search.best(candidates, group.memory, tries, say=say)


# From what changes nothing to what changes the most.
_SAVINGS: Sequence[Mapping[str, str]] = (
  {},
  {"average": "host"},
  {"average": "host", "moments": "8bit"},
  {"average": "host", "moments": "8bit", "parameters": "bfloat16"},
)
# From the fastest to the smallest.
_REMATS = ("none", "names", "full")


def _task(config: run_config.RunConfig) -> tasks.Task:
  return registry.NETWORKS[config.task].task_class(config)


def _candidates(
  task: tasks.Task,
  group: devices.Group,
  opened: Sequence[jax.Device],
  remark: str,
  rank: int,
) -> Iterator[search.Candidate]:
  """The ways to divide a task whose types are settled.

  Args:
    task: what is trained.
    group: of devices.
    opened: the devices.
    remark: on them.
    rank: of what its types cost.
  """
  trees = _shapes(task)
  for config in _variations(task, opened):
    mesh = AbstractMesh(
      tuple(dataclasses.astuple(config.mesh)), partitioning.MESH_AXES
    )
    less = _REMATS.index(config.memory.remat), config.memory.accumulate
    yield search.Candidate(
      label=_title(config, mesh).partition("mesh ")[2],
      held=sum(partitioning.bytes_per_device(mesh, t) for t in trees),
      cost=(rank, *search.mesh_cost(config.mesh), -less[0], less[1]),
      plan=functools.partial(_compiled, _task(config), group, opened, remark),
    )


def _shapes(task: tasks.Task) -> list[Any]:
  """Boxed shapes of all that a step holds but for its batch."""
  objective = task.objective()
  abstract = jax.eval_shape(lambda: building.initial(task, objective))
  trained, frozen = paths.split(abstract, task.trainable)
  chain, kept = building.make_chain(task, trained), task.config.kept
  state = states.abstract_state(trained, chain, kept)
  return [state.replace(ema=None) if kept.average_on_host else state, frozen]


def _variations(
  task: tasks.Task, opened: Sequence[jax.Device]
) -> Iterator[run_config.RunConfig]:
  """Configurations that the devices and the network's heads allow."""
  for mesh in search.meshes(len(opened)):
    for remat, accumulate in itertools.product(
      _REMATS, _accumulations(task.config, mesh)
    ):
      memory = dataclasses.replace(
        task.config.memory, remat=remat, accumulate=accumulate
      )
      config = dataclasses.replace(task.config, mesh=mesh, memory=memory)
      if _divides(task, config, opened):
        yield config


def _accumulations(
  config: run_config.RunConfig, mesh: partitioning.MeshConfig
) -> list[int]:
  """As the configuration says, and a sample at a time on each device."""
  alone = config.batch_size // (mesh.data * mesh.fsdp)
  return sorted({config.memory.accumulate, max(alone, 1)})


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
