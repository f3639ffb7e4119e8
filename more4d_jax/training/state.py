"""The state of a run, created already sharded."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from more4d_jax import partitioning


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
  """

  step: Any
  params: Any
  ema: Any
  optimizer: Any
  skipped: Any


def _fresh(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
  return TrainState(
    step=jnp.int32(0),
    params=params,
    # A copy: two leaves of a donated state must not share a buffer.
    ema=jax.tree.map(jnp.copy, params),
    optimizer=optimizer.init(params),
    skipped=jnp.int32(0),
  )


def abstract_state(
  abstract_params: Any, optimizer: optax.GradientTransformation
) -> TrainState:
  """Returns the state's shapes, boxed like the parameters.

  Args:
    abstract_params: boxed shapes of the trained parameters.
    optimizer: the same one that steps use.
  """
  return jax.eval_shape(lambda p: _fresh(p, optimizer), abstract_params)


def state_shardings(mesh: Mesh, abstract: TrainState) -> TrainState:
  """Returns a tree of shardings like the unboxed state."""
  return partitioning.shardings(mesh, abstract)


def create_state(
  init: Callable[[], Any],
  optimizer: optax.GradientTransformation,
  mesh: Mesh,
) -> TrainState:
  """Initialises parameters and optimizer, each device its own shards.

  Args:
    init: returns the boxed trained parameters; traced, never run whole.
    optimizer: the optax chain.
    mesh: where the state lives.
  """
  abstract = abstract_state(jax.eval_shape(init), optimizer)
  place = state_shardings(mesh, abstract)
  make = jax.jit(
    lambda: partitioning.unbox(_fresh(init(), optimizer)), out_shardings=place
  )
  with jax.set_mesh(mesh):
    return make()


def state_from_params(
  params: Any,
  abstract_params: Any,
  optimizer: optax.GradientTransformation,
  mesh: Mesh,
) -> TrainState:
  """Starts from given parameters, for example another network's.

  Args:
    params: nested dict of host arrays.
    abstract_params: boxed shapes of the same tree, which name the axes.
    optimizer: the optax chain.
    mesh: where the state lives.
  """
  place = state_shardings(mesh, abstract_state(abstract_params, optimizer))
  placed = jax.device_put(params, place.params)
  with jax.set_mesh(mesh):
    return jax.jit(lambda p: _fresh(p, optimizer), out_shardings=place)(placed)


def abstract_with_shardings(place: Any, abstract: Any) -> Any:
  """Joins unboxed shapes and shardings, as restoring a checkpoint wants."""
  return jax.tree.map(
    lambda shape, sharding: jax.ShapeDtypeStruct(
      shape.shape, shape.dtype, sharding=sharding
    ),
    partitioning.unbox(abstract),
    place,
  )
