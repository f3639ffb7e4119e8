"""The state of a run, created already sharded."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct, traverse_util
from jax.sharding import Mesh
from jaxtyping import Array, Bool

from more4d_jax import partitioning
from more4d_jax.checkpoints import placing
from more4d_jax.training import outliers

# Initial values run once: compiling them without optimisation takes a fifth
# of the time.
_RUNS_ONCE = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass(frozen=True)
class StateOptions:
  """What a state holds besides parameters and optimizer.

  Attributes:
    window: number of losses to remember.
    average: whether the average of the parameters is kept.
    average_on_host: whether it lies in the host's memory.
  """

  window: int = 0
  average: bool = True
  average_on_host: bool = False


_PLAIN = StateOptions()


@struct.dataclass
class TrainState:
  """All that a checkpoint holds besides the loader's position.

  Leaves are arrays, and in the abstract shapes or shardings.

  Attributes:
    step: number of finished steps, int32 scalar.
    params: trained parameters, nested dict.
    ema: their running average, float32; None where none is kept.
    optimizer: optax state.
    skipped: number of steps that changed nothing, int32 scalar.
    history: the newest losses, `outliers.LossHistory`; None where no rule
      uses them.
  """

  step: Any
  params: Any
  ema: Any
  optimizer: Any
  skipped: Any
  history: Any = None

  @property
  def result(self) -> Any:
    """The parameters that training is for: averaged ones where there are.

    They are on devices; those that lie on the host are brought there.
    """
    return self.params if self.ema is None else jax.tree.map(_near, self.ema)


def in_float32(tree: Any) -> Any:
  """A tree of numbers in float32."""
  return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


def _fresh(
  params: Any,
  optimizer: optax.GradientTransformation,
  options: StateOptions,
) -> TrainState:
  exact = in_float32(params)
  return TrainState(
    step=jnp.int32(0),
    params=params,
    # A copy: two leaves of a donated state must not share a buffer.
    ema=jax.tree.map(jnp.copy, exact) if options.average else None,
    optimizer=optimizer.init(exact),
    skipped=jnp.int32(0),
    history=outliers.empty(options.window) if options.window else None,
  )


def abstract_state(
  abstract_params: Any,
  optimizer: optax.GradientTransformation,
  options: StateOptions = _PLAIN,
) -> TrainState:
  """Returns the state's shapes, boxed like the parameters.

  Args:
    abstract_params: boxed shapes of the trained parameters.
    optimizer: the same one that steps use.
    options: what else there is.
  """
  return jax.eval_shape(
    lambda p: _fresh(p, optimizer, options), abstract_params
  )


def state_shardings(
  mesh: Mesh, abstract: TrainState, options: StateOptions = _PLAIN
) -> TrainState:
  """Returns a tree of shardings like the unboxed state."""
  place = partitioning.shardings(mesh, abstract)
  if not options.average_on_host:
    return place
  on_host = jax.tree.map(
    lambda sharding: sharding.with_memory_kind(partitioning.HOST_MEMORY),
    place.ema,
  )
  return place.replace(ema=on_host)


def create_params(
  init: Callable[[], Any],
  mesh: Mesh,
  loaded: Mapping[str, Any],
  like: Mapping[str, Any] | None = None,
) -> Any:
  """Initialises a network's parameters, each device its own shards.

  Args:
    init: returns boxed parameters; traced, never run whole.
    mesh: where they live.
    loaded: a part of the nested dict, in place of initial values, which are
      not made then; arrays in memory or on disk, of which each process reads
      its shards.
    like: a part of the nested dict; only what it has is made. All when left
      out.

  Raises:
    ValueError: if a loaded array has no counterpart of its shape.
  """
  given = traverse_util.flatten_dict(loaded, sep="/")
  wanted = None if like is None else traverse_util.flatten_dict(like, sep="/")

  def is_made(path: str) -> bool:
    return path not in given and (wanted is None or path in wanted)

  def rest() -> dict[str, Array]:
    flat = traverse_util.flatten_dict(partitioning.unbox(init()), sep="/")
    return {path: leaf for path, leaf in flat.items() if is_made(path)}

  with jax.set_mesh(mesh):
    boxed = jax.eval_shape(init)
    place, shapes = (
      traverse_util.flatten_dict(tree, sep="/")
      for tree in (
        partitioning.shardings(mesh, boxed),
        partitioning.unbox(boxed),
      )
    )
    for path, value in given.items():
      if path not in shapes or shapes[path].shape != value.shape:
        expected = shapes[path].shape if path in shapes else "nothing"
        raise ValueError(
          f"loaded parameter {path} has shape {value.shape}, the network has "
          f"{expected}: load a network of the same configuration"
        )
    make = jax.jit(
      rest,
      out_shardings={path: s for path, s in place.items() if is_made(path)},
      compiler_options=_RUNS_ONCE,
    )
    found = make()
  for path, value in given.items():
    if wanted is None or path in wanted:
      found[path] = placing.put(value, place[path])
  return traverse_util.unflatten_dict(found, sep="/")


def create_state(
  params: Any,
  abstract_params: Any,
  optimizer: optax.GradientTransformation,
  mesh: Mesh,
  options: StateOptions = _PLAIN,
) -> TrainState:
  """Makes the first state, each device its own shards.

  Args:
    params: trained parameters on the mesh, which the state takes over.
    abstract_params: boxed shapes of the same tree, which name the axes.
    optimizer: the optax chain.
    mesh: where the state lives.
    options: what it holds besides.
  """
  abstract = abstract_state(abstract_params, optimizer, options)
  place = state_shardings(mesh, abstract, options)
  make = jax.jit(
    lambda p: _fresh(p, optimizer, options),
    out_shardings=place,
    donate_argnums=0,
    compiler_options=_RUNS_ONCE,
  )
  with jax.set_mesh(mesh):
    return make(params)


def abstract_with_shardings(place: Any, abstract: Any) -> Any:
  """Joins unboxed shapes and shardings, as restoring a checkpoint wants."""
  return jax.tree.map(
    lambda shape, sharding: jax.ShapeDtypeStruct(
      shape.shape, shape.dtype, sharding=sharding
    ),
    partitioning.unbox(abstract),
    place,
  )


def all_finite(state: TrainState) -> bool:
  """Whether all that steps go on from is finite; looked at on the mesh."""
  averaged = jax.tree.leaves(state.ema)
  if averaged and averaged[0].sharding.memory_kind == partitioning.HOST_MEMORY:
    parts = (state.params, state.optimizer)
    # One at a time: together they may have no room on the devices.
    groups = itertools.chain([parts], map(_near, averaged))
  else:
    groups = iter([(state.params, averaged, state.optimizer)])
  return all(bool(partitioning.fetch(_finite(group))) for group in groups)


def _near(leaf: Array) -> Array:
  if leaf.sharding.memory_kind != partitioning.HOST_MEMORY:
    return leaf
  return jax.device_put(leaf, leaf.sharding.with_memory_kind("device"))


@jax.jit
def _finite(tree: Any) -> Bool[Array, ""]:
  return jnp.stack(
    [
      jnp.isfinite(leaf).all()
      for leaf in jax.tree.leaves(tree)
      if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
  ).all()
