"""A task becomes a train step, and with opened files a whole training.

`train_step` follows from the configuration alone: it opens no file and makes
no array, so a plan may compile it for devices that are not there.
"""

import dataclasses
import functools
import logging
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jax.sharding import Mesh

from more4d_jax import errors, partitioning, rng
from more4d_jax.checkpoints import stored_arrays
from more4d_jax.data import loader as loaders
from more4d_jax.experiment import (
  explaining,
  held_out,
  record_splits,
  run_config,
  starting,
)
from more4d_jax.experiment import task as tasks
from more4d_jax.kernels.attention import context_parallel, dispatch
from more4d_jax.kernels.norm_rotary import dispatch as norm_rotary
from more4d_jax.models import attention as attention_layers
from more4d_jax.models import lora
from more4d_jax.planning import devices, operations
from more4d_jax.training import optimizer, paths, runs, throughput
from more4d_jax.training import state as states
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import base

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainStep:
  """A train step and the shapes of what it takes.

  Attributes:
    jitted: the step, compiled when it is first called under its mesh.
    mesh: where it runs.
    state: shapes of the state, with shardings.
    frozen: shapes of the parameters that are not trained, with shardings.
    batch: shapes of a batch of all devices together.
    trained: boxed shapes of the trained parameters, which name their axes.
    chain: the optimizer.
    init: makes all parameters of the step, boxed.
  """

  jitted: jax.stages.Wrapped
  mesh: Mesh
  state: states.TrainState
  frozen: Any
  batch: Any
  trained: Any
  chain: optax.GradientTransformation
  init: Any

  def trace(self) -> jax.stages.Traced:
    """The step's program for its shapes, ready to be lowered and compiled."""
    with jax.set_mesh(self.mesh):
      return self.jitted.trace(self.state, self.frozen, self.batch)


def make_mesh(
  config: run_config.RunConfig, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """Lays devices out as the configuration says.

  Args:
    config: of the run.
    devices: all of all processes when left out.

  Raises:
    UserError: if they cannot be, or the batch cannot be divided among them.
  """
  try:
    mesh = partitioning.make_mesh(config.mesh, devices)
  except ValueError as error:
    raise errors.UserError(str(error)) from error
  parts = mesh.shape["data"] * mesh.shape["fsdp"]
  turns = config.memory.accumulate
  if config.batch_size % (turns * parts):
    shared = f"each of its {turns} parts (memory.accumulate)"
    raise errors.UserError(
      f"batch_size is {config.batch_size}, but mesh.data * mesh.fsdp = {parts} "
      f"devices share {'it' if turns == 1 else shared}: use a multiple of "
      f"{turns * parts}"
    )
  return mesh


def initial(task: tasks.Task, objective: base.Objective) -> Any:
  """Parameters of a step, boxed, each in the type that it is held in."""
  params = objective.init(rng.key(task.config.seed, "init"))
  mine = {name: params[name] for name in params if name not in task.outside}
  trained, frozen = paths.split(mine, task.trainable)
  return paths.merge(
    partitioning.matrices_as(trained, task.config.memory.parameters),
    jax.tree.map(lambda leaf: leaf.astype(task.frozen_dtype), frozen),
  )


def make_chain(task: tasks.Task, trained: Any) -> optax.GradientTransformation:
  """The optimizer of a task.

  Args:
    task: what is trained.
    trained: trained parameters or their shapes.

  Raises:
    UserError: if a rate is given for a parameter that there is not.
  """
  config = task.config
  found = set(paths.names(trained))
  for pattern in config.optimizer.multipliers:
    if not any(re.fullmatch(pattern, name) for name in found):
      raise errors.UserError(
        f"optimizer.rates has {pattern!r}, which matches no trained parameter: "
        f"expected a regular expression of a whole path, as {min(found)}"
      )
  return optimizer.make_optimizer(
    config.optimizer,
    config.num_steps,
    task.multipliers,
    config.memory.moments,
  )


def train_step(
  task: tasks.Task, mesh: Mesh, objective: base.Objective | None = None
) -> TrainStep:
  """Builds the step of a task.

  Args:
    task: what is trained.
    mesh: where.
    objective: of an opened task; one of the same shapes when left out.

  Raises:
    UserError: if the devices lack the kernels that the configuration names.
  """
  config = task.config
  objective = objective or task.objective()
  dit = getattr(task.network, "dit", None)
  if dit is not None:
    check_kernels(dit.layer, mesh)
  init = functools.partial(initial, task, objective)
  with jax.set_mesh(mesh):  # Kernels say what they choose on its devices.
    shapes = jax.eval_shape(init)
  trained, frozen = paths.split(shapes, task.trainable)
  chain = make_chain(task, trained)
  abstract = states.abstract_state(trained, chain, config.kept)
  place = states.state_shardings(mesh, abstract, config.kept)
  frozen_place = partitioning.shardings(mesh, frozen)
  step = steps.make_step(
    loss_of(objective), chain, config.optimizer, config.seed, config.memory
  )
  return TrainStep(
    jitted=steps.compile_later(step, mesh, place, frozen_place),
    mesh=mesh,
    state=states.abstract_with_shardings(place, abstract),
    frozen=states.abstract_with_shardings(frozen_place, frozen),
    batch={
      name: jax.ShapeDtypeStruct(
        (config.batch_size, *leaf.shape),
        leaf.dtype,
        sharding=partitioning.batch_sharding(mesh),
      )
      for name, leaf in task.example.items()
    },
    trained=trained,
    chain=chain,
    init=init,
  )


def _given(task: tasks.Task, opened: tasks.Opened, step: TrainStep) -> Any:
  """Parameters of a step that are not initialised.

  They are brought to the types of the step as they are read, whatever they
  are stored in.
  """
  given = task.initial_params(opened)
  given = {k: v for k, v in given.items() if k not in task.outside}
  flat = traverse_util.flatten_dict(given, sep="/")
  held = paths.merge(step.state.params, step.frozen)
  wanted = traverse_util.flatten_dict(held, sep="/")
  if opened.start is not None:
    # That a LoRA to train is new goes without saying.
    network = {
      k: v for k, v in wanted.items() if k.split("/")[0] != lora.COLLECTION
    }
    found = starting.taken(flat, network)
    if jax.process_index() == 0:
      source = getattr(task.config.init_from, task.kind)
      changed = starting.differences(opened.start.config, task.network)
      found.tell(source, changed)
    flat = dict(found.arrays)
  for path, like in wanted.items():
    if path in flat:
      flat[path] = stored_arrays.cast(flat[path], like.dtype)
  return traverse_util.unflatten_dict(flat, sep="/")


def loss_of(objective: base.Objective) -> steps.LossFn:
  """An objective's loss as the step takes it, trained and frozen apart."""

  def loss(trained: Any, frozen: Any, batch: Any, keys: steps.Keys) -> Any:
    return objective.loss(paths.merge(trained, frozen), batch, keys)

  return loss


def training(task: tasks.Task, opened: tasks.Opened) -> runs.Training:
  """Builds all that the loop needs: step, first state, loader, evaluators."""
  config, mesh = task.config, make_mesh(task.config)
  objective = task.objective(opened)
  step = train_step(task, mesh, objective)
  task.prepare(opened)
  encode = task.encoder(opened, mesh)

  # Each part by itself: nothing holds the first parameters while others train.
  part = functools.partial(
    states.create_params, step.init, mesh, _given(task, opened, step)
  )
  _tell_undivided(step)
  frozen = part(step.frozen) if step.frozen else {}
  train_set = task.train_set(opened)
  loader_config = _loader_config(config, mesh)

  def explain(
    state: states.TrainState, batch: Any, position: Any, number: int
  ) -> str:
    before = state.replace(step=jnp.int32(number - 1))
    taken = batch if encode is None else encode(batch)
    tensor = explaining.first_tensor(
      loss_of(objective), before, frozen, taken, config, mesh
    )
    count = len(train_set.source)
    ids = explaining.record_ids(opened.training, count, loader_config, position)
    return explaining.message(ids, tensor)

  return runs.Training(
    name=f"{config.task} {config.size}",
    mesh=mesh,
    create=lambda: states.create_state(
      part(step.state.params), step.trained, step.chain, mesh, config.kept
    ),
    abstract=step.state,
    step=steps.encoded(steps.under_mesh(step.jitted, mesh), encode),
    frozen=frozen,
    loader=loaders.make_loader(
      train_set.source, train_set.transform, loader_config
    ),
    evaluators=held_out.evaluators(
      task, opened, loss_of(objective), mesh, frozen, encode
    ),
    config=config.loop,
    seed=config.seed,
    trained_on=opened.trained_on,
    work=_work(task, step),
    explain=explain,
  )


def _work(task: tasks.Task, step: TrainStep) -> throughput.Work:
  """What a step does; its operations where the devices' peak is known."""
  peak = devices.here().kind.peak
  return throughput.Work(
    samples=task.config.batch_size,
    tokens=task.tokens,
    operations=operations.count(step.trace().jaxpr) if peak else 0.0,
    peak=peak,
  )


def _loader_config(
  config: run_config.RunConfig, mesh: Mesh
) -> loaders.LoaderConfig:
  return loaders.LoaderConfig(
    global_batch=config.batch_size,
    seed=config.seed,
    shuffle=config.data.shuffle,
    rows=partitioning.batch_rows(mesh, config.batch_size),
    workers=config.data.workers,
    threads=config.data.threads,
    parts=record_splits.parts(config.data),
    max_damaged=config.data.max_damaged,
  )


def _tell_undivided(step: TrainStep) -> None:
  """Says which parameters the mesh does not divide as it should."""
  found = partitioning.undivided(step.mesh, step.trained)
  if not found or jax.process_index():
    return
  path = max(found, key=lambda name: math.prod(found[name]))
  count = sum(math.prod(shape) for shape in found.values())
  _LOG.info(
    "the mesh does not divide an axis of %d parameters (%.3g million values), "
    "which stays whole on each device; the largest is %s %s",
    *(len(found), count / 1e6, path, found[path]),
  )


def check_kernels(
  layer: attention_layers.AttentionConfig, mesh: jax.sharding.Mesh
) -> None:
  """Makes sure that devices have a config's kernels and can divide its heads.

  Raises:
    UserError: unless they do.
  """
  kind = mesh.devices.flat[0].device_kind
  facts = layer.head_dim, jnp.dtype(layer.dtype), kind
  for name, value, room in (
    ("attention", layer.implementation, dispatch),
    ("norm_rotary", layer.norm_rotary, norm_rotary),
  ):
    reason = room.why_not(value, *facts)
    if reason:
      raise errors.UserError(
        f"model.{name} is {value!r}, which {reason}: choose auto"
      )
  ways, tensor = mesh.shape["context"], mesh.shape["tensor"]
  if layer.num_heads % tensor:
    raise errors.UserError(
      f"mesh.tensor is {tensor}, which does not divide the {layer.num_heads} "
      "heads of the transformer: choose a divisor, and put the other devices "
      "on mesh.fsdp or mesh.context"
    )
  if ways > 1:
    reason = context_parallel.why_not(
      layer.context, layer.implementation, layer.num_heads // tensor, ways
    )
    if reason:
      raise errors.UserError(reason)
