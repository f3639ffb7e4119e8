"""The state of a run, created already sharded."""

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


@struct.dataclass
class TrainState:
  """All that a checkpoint holds besides the loader's position.

  Leaves are arrays, and in the abstract shapes or shardings.

  Attributes:
    step: number of finished steps, int32 scalar.
    params: trained parameters, nested dict, float32.
    ema: their running average.
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


def _fresh(
  params: Any, optimizer: optax.GradientTransformation, window: int
) -> TrainState:
  return TrainState(
    step=jnp.int32(0),
    params=params,
    # A copy: two leaves of a donated state must not share a buffer.
    ema=jax.tree.map(jnp.copy, params),
    optimizer=optimizer.init(params),
    skipped=jnp.int32(0),
    history=outliers.empty(window) if window else None,
  )


def abstract_state(
  abstract_params: Any,
  optimizer: optax.GradientTransformation,
  window: int = 0,
) -> TrainState:
  """Returns the state's shapes, boxed like the parameters.

  Args:
    abstract_params: boxed shapes of the trained parameters.
    optimizer: the same one that steps use.
    window: number of losses to remember.
  """
  return jax.eval_shape(lambda p: _fresh(p, optimizer, window), abstract_params)


def state_shardings(mesh: Mesh, abstract: TrainState) -> TrainState:
  """Returns a tree of shardings like the unboxed state."""
  return partitioning.shardings(mesh, abstract)


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
  window: int = 0,
) -> TrainState:
  """Makes the first state, each device its own shards.

  Args:
    params: trained parameters on the mesh, which the state takes over.
    abstract_params: boxed shapes of the same tree, which name the axes.
    optimizer: the optax chain.
    mesh: where the state lives.
    window: number of losses to remember.
  """
  abstract = abstract_state(abstract_params, optimizer, window)
  place = state_shardings(mesh, abstract)
  make = jax.jit(
    lambda p: _fresh(p, optimizer, window),
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
  parts = (state.params, state.ema, state.optimizer)
  return bool(partitioning.fetch(_finite(parts)))


@jax.jit
def _finite(tree: Any) -> Bool[Array, ""]:
  return jnp.stack(
    [
      jnp.isfinite(leaf).all()
      for leaf in jax.tree.leaves(tree)
      if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
  ).all()
