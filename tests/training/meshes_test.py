"""Steps of every task on 8 virtual devices against one device."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from configs import strag
from more4d_jax import partitioning
from more4d_jax.experiment import config_reader, model_config
from more4d_jax.planning import search
from more4d_jax.training import optimizer, prefetch
from more4d_jax.training import state as states
from more4d_jax.training import step as steps
from tests.training import nano_batches

# Mesh shapes, and how self-attention runs over a context axis.
MESHES = [
  ((8, 1, 1, 1), "ring"),
  ((1, 8, 1, 1), "ring"),
  ((2, 2, 2, 1), "ring"),
  pytest.param((2, 2, 2, 1), "ulysses", marks=pytest.mark.long),
  ((1, 2, 2, 2), "ring"),
  ((1, 2, 2, 2), "ulysses"),
]
# Every way to lay 8 devices out along the four axes.
ALL = [dataclasses.astuple(mesh) for mesh in search.meshes(8)]
_SEED, _BATCH, _STEPS = 5, 8, 3
# As configured, warm-up included: where a gradient is almost zero, Adam makes
# its sign a step of full size, and the sign may differ between meshes.
_CONFIG = config_reader.read(strag.get_config("size=nano")).optimizer


def _strag(context_attention):
  return nano_batches.strag_objective(
    config=model_config.replace_fields(
      nano_batches.VARIANT.strag, context_attention=context_attention
    )
  )


# Task -> objective and batch of a number of samples.
TASKS = {
  "strag": (functools.partial(_strag, "ring"), nano_batches.strag_batch),
  "vism": (nano_batches.vism_objective, nano_batches.vism_batch),
  "motion_vae": (nano_batches.motion_objective, nano_batches.motion_batch),
  "video_vae": (nano_batches.video_objective, nano_batches.video_batch),
  "depth": (nano_batches.depth_objective, nano_batches.depth_batch),
}


def _run(shape, objective, make_batch):
  """Losses of three steps and the gradient of the first."""
  count = int(np.prod(shape))
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(*shape), jax.devices()[:count]
  )
  abstract = nano_batches.abstract(objective)
  chain = optimizer.make_optimizer(_CONFIG, _STEPS, {})
  place = states.state_shardings(mesh, states.abstract_state(abstract, chain))
  params = jax.device_put(nano_batches.random_params(objective), place.params)
  state = states.create_state(params, abstract, chain, mesh)

  def loss(params, frozen, batch, keys):
    del frozen
    return objective.loss(params, batch, keys)

  @functools.partial(jax.jit, out_shardings=(place, None, place.params))
  def step(state, batch):
    value, _, grads = steps.gradients(loss, state, {}, batch, _SEED)
    state, _ = steps.update(state, grads, chain, _CONFIG)
    return state, value, grads

  losses, first = [], None
  with jax.set_mesh(mesh):
    for number in range(_STEPS):
      batch = make_batch(_BATCH)
      batch = {k: np.roll(v, number, axis=0) for k, v in batch.items()}
      state, value, grads = step(state, prefetch.to_mesh(batch, mesh))
      losses.append(float(value))
      first = jax.device_get(grads) if first is None else first
  return losses, first


@functools.cache
def _single(name):
  make_objective, make_batch = TASKS[name]
  return _run((1, 1, 1, 1), make_objective(), make_batch)


@pytest.mark.slow
@pytest.mark.parametrize("shape, context_attention", MESHES)
def test_losses_and_first_gradients_equal_one_device(
  shape, context_attention, capfd
):
  found = _run(shape, _strag(context_attention), nano_batches.strag_batch)
  assert "Involuntary full rematerialization" not in capfd.readouterr().err
  _check_same(found, _single("strag"))


@pytest.mark.long
@pytest.mark.parametrize("shape", ALL)
@pytest.mark.parametrize("name", list(TASKS))
def test_every_layout_of_every_task_equals_one_device(name, shape):
  make_objective, make_batch = TASKS[name]
  found = _run(shape, make_objective(), make_batch)
  _check_same(found, _single(name))


def _check_same(found, single):
  losses, grads = found
  norm = float(optax.global_norm(single[1]))
  leaves = jax.tree_util.tree_leaves_with_path(grads)
  wrong = {}
  for (path, mine), true in zip(leaves, jax.tree.leaves(single[1])):
    largest = np.abs(true).max()
    # The exact gradient of some tensors is zero, for example of a key's bias,
    # which moves all logits of a row alike: there only rounding is left.
    if max(largest, np.abs(mine).max()) < 1e-6 * norm:
      continue
    error = np.abs(mine - true).max() / largest
    if not error < 1e-5:
      wrong[jax.tree_util.keystr(path)] = (float(error), float(largest))
  assert not wrong
  # The bound: only the order of float32 sums differs.
  np.testing.assert_allclose(losses, single[0], atol=1e-5)
