"""The one train step: gradient, clip, update, average, metrics."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct, traverse_util
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Shaped

from more4d_jax import partitioning, rng
from more4d_jax.training import memory as memory_lib
from more4d_jax.training import moments, outliers
from more4d_jax.training import optimizer as optimizers
from more4d_jax.training import state as states

_PLAIN = memory_lib.MemoryConfig()


class Keys:
  """Keys of one step, one per purpose, folded from (seed, purpose, step).

  Where a batch is worked through in parts, `draw` gives each part its rows of
  what the whole batch would have drawn.
  """

  def __init__(
    self,
    seed: int,
    step: int | Int[Array, ""],
    part: int | Int[Array, ""] = 0,
    parts: int = 1,
  ):
    """Remembers what the keys are folded from, and which part this is."""
    self._seed, self._step = seed, step
    self._part, self._parts = part, parts

  def __call__(self, purpose: str) -> Array:
    """Returns the key for a purpose; ask once for each."""
    return rng.key(self._seed, purpose, self._step)

  def draw(
    self, purpose: str, sample: Callable[[Array, int], Any], count: int
  ) -> Any:
    """Draws something for each of `count` samples, along the first axis.

    Args:
      purpose: ask once for each.
      sample: (key, number of samples) -> array or tree of arrays.
      count: samples of this part.
    """
    whole = sample(self(purpose), count * self._parts)
    if self._parts == 1:
      return whole
    return jax.tree.map(lambda x: divided(x, self._parts)[self._part], whole)

  def normal(self, purpose: str, shape: Sequence[int]) -> Float[Array, "..."]:
    """Standard normal numbers; the first axis is that of samples."""

    def sample(key: Array, count: int) -> Array:
      return jax.random.normal(key, (count, *shape[1:]))

    return self.draw(purpose, sample, shape[0])


def divided(
  x: Shaped[Array, "B ..."], parts: int
) -> Shaped[Array, "parts b ..."]:
  """A batch in parts, each of which takes as many rows of every device."""
  rows = x.reshape(x.shape[0] // parts, parts, *x.shape[1:])
  return jnp.moveaxis(rows, 1, 0)


@struct.dataclass
class Mean:
  """A metric that not every sample counts in.

  Attributes:
    total: sum over the samples that count; arrays, or their shapes.
    weight: number of them.
  """

  total: Any
  weight: Any


Batch = Mapping[str, Array]
Metrics = dict[str, Float[Array, ""]]
Measured = dict[str, Float[Array, ""] | Mean]  # `finished` makes metrics of it.
# (trained, frozen, batch, keys of this step) -> (loss, what was measured)
LossFn = Callable[[Any, Any, Batch, Keys], tuple[Float[Array, ""], Measured]]
StepFn = Callable[
  [states.TrainState, Any, Batch], tuple[states.TrainState, Metrics]
]


def finished(measured: Measured) -> Metrics:
  """Metrics as numbers; a `Mean` without samples is not a number."""
  return {
    name: value.total / value.weight if isinstance(value, Mean) else value
    for name, value in measured.items()
  }


def gradients(
  loss: LossFn,
  state: states.TrainState,
  frozen: Any,
  batch: Batch,
  seed: int,
  parts: int = 1,
) -> tuple[Float[Array, ""], Metrics, Any]:
  """Returns (loss, metrics, gradient tree in float32) at the state's step.

  Args:
    loss: of a batch.
    state: with the trained parameters.
    frozen: the others.
    batch: its number of samples is a multiple of `parts`.
    seed: of the draws.
    parts: number of equal parts that are worked through one after the other;
      the mean over them is returned.
  """

  def part(number: Any, rows: Batch) -> Any:
    keys = Keys(seed, state.step, number, parts)
    (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(
      state.params, frozen, rows, keys
    )
    return value, metrics, states.in_float32(grads)

  if parts == 1:
    value, metrics, grads = part(0, batch)
    return value, finished(metrics), grads
  rows = jax.tree.map(lambda x: _spread(divided(x, parts)), batch)
  nothing = jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
    jax.eval_shape(part, 0, jax.tree.map(lambda x: x[0], rows)),
  )

  def add(sums: Any, numbered: Any) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, sums, part(*numbered)), None

  sums, _ = jax.lax.scan(add, nothing, (jnp.arange(parts), rows))
  value, metrics, grads = jax.tree.map(lambda x: x / parts, sums)
  return value, finished(metrics), grads


def _spread(x: Shaped[Array, "parts b ..."]) -> Shaped[Array, "parts b ..."]:
  return partitioning.constrain(x, None, "batch", *[None] * (x.ndim - 2))


def _average(decay: float, step: Int[Array, ""], ema: Any, params: Any) -> Any:
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)


def update(
  state: states.TrainState,
  grads: Any,
  chain: optax.GradientTransformation,
  config: optimizers.OptimizerConfig,
  skip: Array | bool = False,
  *,
  seed: int = 0,
  memory: memory_lib.MemoryConfig = _PLAIN,
) -> tuple[states.TrainState, Metrics]:
  """Applies clipped gradients; where `skip` holds only the step advances.

  A gradient that is not finite is skipped too where outliers are.

  Args:
    state: before.
    grads: float32.
    chain: the optimizer.
    config: of clipping, skipping and averaging.
    skip: see above.
    seed: of the rounding of bfloat16 parameters.
    memory: says where the average lies.
  """
  clipped, norm = optimizers.clip_gradients(grads, config, state.step)
  if config.outlier_deviations:
    skip = skip | ~jnp.isfinite(norm)
  exact, old = states.in_float32(state.params), state
  if memory.average == "host":
    old = state.replace(ema=_to(jax.memory.Space.Device, state.ema))
  updates, opt_state = chain.update(clipped, old.optimizer, exact)
  exact = optax.apply_updates(exact, updates)
  rounding = rng.key(seed, "rounding", state.step)
  ema = old.ema
  if ema is not None:
    ema = _average(config.ema_decay, state.step, ema, exact)
  params = moments.round_tree(exact, old.params, rounding)
  # A step that is not finite ends the run; what went in can be looked at.
  finite = jnp.isfinite(norm)
  params, opt_state = jax.tree.map(
    lambda n, o: jnp.where(finite, n, o),
    (params, opt_state),
    (old.params, old.optimizer),
  )
  new = old.replace(params=params, ema=ema, optimizer=opt_state)
  metrics = {"gradient_norm": norm, **_norms_by_group(grads)}
  if config.skips:
    new = jax.tree.map(lambda n, o: jnp.where(skip, o, n), new, old)
    metrics["skip"] = jnp.float32(skip)
  if memory.average == "host":
    new = new.replace(ema=_to(jax.memory.Space.Host, new.ema))
  new = new.replace(
    step=state.step + 1, skipped=state.skipped + jnp.int32(skip)
  )
  return new, metrics


def _to(space: jax.memory.Space, tree: Any) -> Any:
  return jax.tree.map(lambda leaf: jax.device_put(leaf, space), tree)


def _norms_by_group(grads: Any) -> Metrics:
  """Norms of the gradient by the first two names of parameters' paths."""
  groups: dict[str, list[Array]] = {}
  for path, leaf in traverse_util.flatten_dict(grads, sep="/").items():
    group = "/".join(path.split("/")[:2])
    groups.setdefault(group, []).append(leaf)
  return {
    f"gradient_norm/{name}": optax.global_norm(leaves)
    for name, leaves in groups.items()
  }


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
  memory: memory_lib.MemoryConfig = _PLAIN,
) -> StepFn:
  """Returns the unjitted step."""

  def step(
    state: states.TrainState, frozen: Any, batch: Batch
  ) -> tuple[states.TrainState, Metrics]:
    value, metrics, grads = gradients(
      loss, state, frozen, batch, seed, memory.accumulate
    )
    skip = _skip(state, value, config)
    state, more = update(
      state, grads, chain, config, skip, seed=seed, memory=memory
    )
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
