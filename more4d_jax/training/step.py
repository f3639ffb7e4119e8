"""The one train step: gradient, clip, update, average, metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from more4d_jax import partitioning, rng
from more4d_jax.training import optimizer as optimizers
from more4d_jax.training import outliers
from more4d_jax.training import state as states


class Keys:
  """Keys of one step, one per purpose, folded from (seed, purpose, step)."""

  def __init__(self, seed: int, step: int | Int[Array, ""]):
    """Remembers what the keys are folded from."""
    self._seed, self._step = seed, step

  def __call__(self, purpose: str) -> Array:
    """Returns the key for a purpose; ask once for each."""
    return rng.key(self._seed, purpose, self._step)


Batch = Mapping[str, Array]
Metrics = dict[str, Float[Array, ""]]
# (trained, frozen, batch, keys of this step) -> (loss, metrics)
LossFn = Callable[[Any, Any, Batch, Keys], tuple[Float[Array, ""], Metrics]]
StepFn = Callable[
  [states.TrainState, Any, Batch], tuple[states.TrainState, Metrics]
]


def gradients(
  loss: LossFn, state: states.TrainState, frozen: Any, batch: Batch, seed: int
) -> tuple[Float[Array, ""], Metrics, Any]:
  """Returns (loss, metrics, gradient tree) at the state's step."""
  keys = Keys(seed, state.step)
  (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(
    state.params, frozen, batch, keys
  )
  return value, metrics, grads


def _average(decay: float, step: Int[Array, ""], ema: Any, params: Any) -> Any:
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)


def update(
  state: states.TrainState,
  grads: Any,
  chain: optax.GradientTransformation,
  config: optimizers.OptimizerConfig,
  skip: Array | bool = False,
) -> tuple[states.TrainState, Metrics]:
  """Applies clipped gradients; where `skip` holds only the step advances.

  A gradient that is not finite is skipped too where outliers are.
  """
  clipped, norm = optimizers.clip_gradients(grads, config, state.step)
  if config.outlier_deviations:
    skip = skip | ~jnp.isfinite(norm)
  updates, opt_state = chain.update(clipped, state.optimizer, state.params)
  params = optax.apply_updates(state.params, updates)
  ema = _average(config.ema_decay, state.step, state.ema, params)
  new = (params, ema, opt_state)
  metrics = {"gradient_norm": norm}
  if config.skips:
    old = (state.params, state.ema, state.optimizer)
    new = jax.tree.map(lambda n, o: jnp.where(skip, o, n), new, old)
    metrics["skip"] = jnp.float32(skip)
  state = state.replace(
    step=state.step + 1,
    params=new[0],
    ema=new[1],
    optimizer=new[2],
    skipped=state.skipped + jnp.int32(skip),
  )
  return state, metrics


def _skip(
  state: states.TrainState,
  loss: Float[Array, ""],
  config: optimizers.OptimizerConfig,
) -> Bool[Array, ""]:
  """Whether the loss of a step says that it changes nothing."""
  skip = jnp.bool_(False)
  if config.skip_loss_above:
    skip = (loss > config.skip_loss_above) & (state.step >= config.skip_after)
  if config.outlier_deviations:
    skip |= outliers.is_outlier(
      state.history, loss, config.outlier_deviations, config.outlier_after
    )
  return skip


def make_step(
  loss: LossFn,
  chain: optax.GradientTransformation,
  config: optimizers.OptimizerConfig,
  seed: int,
) -> StepFn:
  """Returns the unjitted step."""

  def step(
    state: states.TrainState, frozen: Any, batch: Batch
  ) -> tuple[states.TrainState, Metrics]:
    value, metrics, grads = gradients(loss, state, frozen, batch, seed)
    skip = _skip(state, value, config)
    state, more = update(state, grads, chain, config, skip)
    metrics = {"loss": value, **metrics, **more}
    if config.skips:
      metrics["skipped"] = state.skipped.astype(jnp.float32)
    if config.outlier_deviations:
      history = outliers.record(state.history, value, more["skip"] > 0)
      state = state.replace(history=history)
    return state, metrics

  return step


def compile_later(
  step: StepFn, mesh: Mesh, place: states.TrainState, frozen_place: Any
) -> jax.stages.Wrapped:
  """Jits a step for a mesh; the state it is given is donated.

  Args:
    step: from `make_step`.
    mesh: the device mesh; in scope while the step is traced.
    place: shardings of the state.
    frozen_place: shardings of the frozen parameters.
  """
  return jax.jit(
    step,
    in_shardings=(place, frozen_place, partitioning.batch_sharding(mesh)),
    out_shardings=(place, partitioning.replicated(mesh)),
    donate_argnums=0,
  )


def jit_step(
  step: StepFn, mesh: Mesh, place: states.TrainState, frozen_place: Any
) -> StepFn:
  """The same as a function that brings its mesh into scope."""
  return under_mesh(compile_later(step, mesh, place, frozen_place), mesh)


def under_mesh(compiled: jax.stages.Wrapped, mesh: Mesh) -> StepFn:
  """A jitted step as a function that brings its mesh into scope."""

  def run(
    state: states.TrainState, frozen: Any, batch: Batch
  ) -> tuple[states.TrainState, Metrics]:
    with jax.set_mesh(mesh):
      return compiled(state, frozen, batch)

  return run


def encoded(step: StepFn, encode: Callable[[Batch], Batch] | None) -> StepFn:
  """A step that makes its batch of another one first, if there is a need."""
  if encode is None:
    return step
  return lambda state, frozen, batch: step(state, frozen, encode(batch))
