"""Options that save memory change results by their rounding alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from more4d_jax import errors, partitioning
from more4d_jax.experiment import building, model_config
from more4d_jax.models import remat
from more4d_jax.training import memory, optimizer
from more4d_jax.training import state as states
from more4d_jax.training import step as steps
from tests.experiment import configurations
from tests.training import nano_batches

_BATCH = 8
_OBJECTIVES = {
  "strag": (nano_batches.strag_objective, nano_batches.strag_batch),
  "vism": (nano_batches.vism_objective, nano_batches.vism_batch),
  "video_vae": (
    nano_batches.video_objective,
    nano_batches.video_batch,
  ),
}


def _gradients(objective, params, batch, parts=1):
  def loss(params, frozen, batch, keys):
    del frozen
    return objective.loss(params, batch, keys)

  @jax.jit
  def run(params, batch):
    state = states.TrainState(jnp.int32(7), params, None, None, jnp.int32(0))
    return steps.gradients(loss, state, {}, batch, 3, parts)

  return jax.device_get(run(params, batch))


@pytest.mark.slow  # Compiles two gradients.
@pytest.mark.parametrize("name", list(_OBJECTIVES))
def test_parts_of_a_batch_are_the_batch(name):
  make_objective, make_batch = _OBJECTIVES[name]
  objective = make_objective()
  params = nano_batches.random_params(objective)
  batch = jax.tree.map(jnp.asarray, make_batch(_BATCH))
  whole, parts = (
    _gradients(objective, params, batch, count) for count in (1, 4)
  )
  assert parts[0] == pytest.approx(whole[0], rel=1e-6)
  assert set(parts[1]) == set(whole[1])
  norm = float(optax.global_norm(whole[2]))
  for one, other in zip(*map(jax.tree.leaves, (whole[2], parts[2]))):
    # The bound; sums are taken in another order.
    assert np.abs(one - other).max() < 1e-6 * norm


@pytest.mark.slow  # Compiles a gradient for each policy.
def test_every_policy_gives_the_same_gradients():
  params = nano_batches.random_params(nano_batches.strag_objective())
  batch = jax.tree.map(jnp.asarray, nano_batches.strag_batch(2))
  found = {}
  for policy in remat.POLICIES:
    network = model_config.replace_fields(
      nano_batches.VARIANT.strag, remat=policy, attention="plain"
    )
    objective = nano_batches.strag_objective(config=network)
    found[policy] = _gradients(objective, params, batch)
  exact = found.pop("none")
  norm = float(optax.global_norm(exact[2]))
  for policy, (value, _, grads) in found.items():
    assert value == pytest.approx(exact[0], rel=1e-6), policy
    for one, other in zip(*map(jax.tree.leaves, (exact[2], grads))):
      assert np.abs(one - other).max() < 1e-6 * norm, policy


def test_policies_keep_what_they_say():
  shapes = {}
  for policy in ("full", "names", "dots", "none"):
    network = model_config.replace_fields(
      nano_batches.VARIANT.strag, remat=policy, attention="plain"
    )
    objective = nano_batches.strag_objective(config=network)
    params = partitioning.unbox(nano_batches.abstract(objective))
    batch = jax.tree.map(jnp.asarray, nano_batches.strag_batch(2))

    def kept(params, objective=objective, batch=batch):
      def loss(params):
        return objective.loss(params, batch, steps.Keys(0, 0))[0]

      return jax.vjp(loss, params)[1]

    leaves = jax.tree.leaves(jax.eval_shape(kept, params))
    shapes[policy] = sum(leaf.size for leaf in leaves)
  assert shapes["full"] < shapes["names"] < shapes["dots"] < shapes["none"]


def _line(memory_config, ema_decay=0.9, steps_done=5):
  """A few steps on a line with a rate below what bfloat16 can tell apart."""
  config = optimizer.OptimizerConfig(
    learning_rate=1e-4, warmup_steps=0, ema_decay=ema_decay, weight_decay=0.0
  )
  options = states.StateOptions(
    average=config.averages,
    average_on_host=memory_config.average == "host",
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=2, fsdp=4))

  def init():
    box = partitioning.param(lambda: jnp.ones((64, 64)), (None, "conv_out"))
    return partitioning.matrices_as({"w": box()}, memory_config.parameters)

  def loss(params, frozen, batch, keys):
    del frozen, keys
    return jnp.mean(batch["x"] @ params["w"].astype(jnp.float32)), {}

  chain = optimizer.make_optimizer(config, 9, {}, memory_config.moments)
  boxed = jax.eval_shape(init)
  abstract = states.abstract_state(boxed, chain, options)
  place = states.state_shardings(mesh, abstract, options)
  state = states.create_state(
    states.create_params(init, mesh, {}), boxed, chain, mesh, options
  )
  step = steps.jit_step(
    steps.make_step(loss, chain, config, 3, memory_config), mesh, place, {}
  )
  batch = {"x": jnp.ones((16, 64))}
  for _ in range(steps_done):
    state, metrics = step(state, {}, batch)
  return state, metrics


def test_bfloat16_parameters_move_by_updates_below_their_resolution():
  exact, _ = _line(memory.MemoryConfig())
  state, _ = _line(memory.MemoryConfig(parameters="bfloat16"))
  assert state.params["w"].dtype == jnp.bfloat16
  assert state.ema["w"].dtype == jnp.float32
  moved = float(jnp.mean(1.0 - state.params["w"].astype(jnp.float32)))
  # 4,096 draws know a twentieth of a step of 2^-8 to about four percent.
  expected = float(jnp.mean(1.0 - exact.params["w"]))
  assert expected == pytest.approx(5e-4, rel=1e-2)
  assert moved == pytest.approx(expected, rel=0.25)


def test_the_average_on_the_host_is_that_on_the_device():
  device, _ = _line(memory.MemoryConfig())
  host, _ = _line(memory.MemoryConfig(average="host"))
  assert host.ema["w"].sharding.memory_kind == partitioning.HOST_MEMORY
  assert host.ema["w"].sharding.spec == device.ema["w"].sharding.spec
  np.testing.assert_array_equal(host.ema["w"], device.ema["w"])
  assert host.result["w"].sharding == device.result["w"].sharding
  np.testing.assert_array_equal(host.result["w"], device.ema["w"])
  assert states.all_finite(host)
  spoiled = {"w": host.ema["w"] * jnp.nan}
  assert not states.all_finite(host.replace(ema=spoiled))


def test_without_an_average_the_parameters_are_the_result():
  state, _ = _line(memory.MemoryConfig(moments="8bit"), ema_decay=0.0)
  assert state.ema is None
  np.testing.assert_array_equal(state.result["w"], state.params["w"])
  levels = state.optimizer[0][0].nu.levels["w"]
  assert levels.dtype == jnp.uint8
  assert levels.sharding.spec == state.params["w"].sharding.spec


def test_norms_are_told_by_group():
  grads = {"dit": {"blocks": {"a": jnp.full(4, 2.0)}, "head": jnp.ones(9)}}
  found = steps._norms_by_group(grads)
  assert found == {"gradient_norm/dit/blocks": 4, "gradient_norm/dit/head": 3}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"memory.remat": "some"}, "memory.remat is 'some': choose one of none"),
    ({"memory.moments": "int4"}, "memory.moments is 'int4': choose one of"),
    ({"memory.accumulate": 0}, "memory.accumulate is 0: expected at least 1"),
    ({"memory.accumulate": 3}, "memory.accumulate makes 3 parts of it"),
    ({"optimizer.ema_decay": 1.0}, "ema_decay is 1.0: expected 0"),
    ({"optimizer.rates": "dit/.*"}, "optimizer.rates has 'dit/.*': expected"),
    ({"optimizer.rates": "(=2"}, r"optimizer.rates has '\(=2': expected a reg"),
  ],
)
def test_mistakes_are_one_line(changes, message):
  with pytest.raises(errors.UserError, match=message) as caught:
    configurations.read("strag", **changes)
  assert "\n" not in str(caught.value)


def test_parts_must_be_shared_by_the_devices():
  config = configurations.read(
    "strag", **{"batch_size": 16, "memory.accumulate": 4}
  )
  with pytest.raises(errors.UserError, match="share each of its 4 parts"):
    building.make_mesh(config)


def test_rates_of_the_configuration_come_first_and_must_match():
  task = configurations.task(
    "motion_vae", **{"optimizer.rates": "vae/.*=0.25 trajectory_.*=3"}
  )
  assert task.config.optimizer.multipliers == {
    "vae/.*": 0.25,
    "trajectory_.*": 3.0,
  }
  params = {"vae": {"decoder": jnp.ones(1)}, "trajectory_encoder": jnp.ones(1)}
  chain = building.make_chain(task, params)
  grads = jax.tree.map(jnp.ones_like, params)
  updates, _ = chain.update(grads, chain.init(params), params)
  ratio = updates["vae"]["decoder"] / updates["trajectory_encoder"]
  assert float(ratio[0]) == pytest.approx(0.25 / 3)
  with pytest.raises(errors.UserError, match="matches no trained parameter"):
    building.make_chain(task, {"other": jnp.ones(1)})


def test_matrices_change_their_type_and_vectors_do_not():
  task = configurations.task("strag", **{"memory.parameters": "bfloat16"})
  shapes = partitioning.unbox(
    jax.eval_shape(lambda: building.initial(task, task.objective()))
  )
  blocks = shapes["dit"]["blocks"]
  assert blocks["ffn"]["fc1"]["kernel"].dtype == jnp.bfloat16
  assert blocks["ffn"]["fc1"]["bias"].dtype == jnp.float32
  assert blocks["modulation"].dtype == jnp.float32
