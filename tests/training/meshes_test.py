"""STraG steps on 8 virtual devices against one device."""

import functools

import jax
import numpy as np
import optax
import pytest

from configs import strag
from more4d_jax import partitioning
from more4d_jax.experiment import config_reader, model_config
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
_SEED, _BATCH, _STEPS = 5, 8, 3
# As configured, warm-up included: where a gradient is almost zero, Adam makes
# its sign a step of full size, and the sign may differ between meshes.
_CONFIG = config_reader.read(strag.get_config("size=nano")).optimizer


def _objective(context_attention):
  return nano_batches.strag_objective(
    config=model_config.replace_fields(
      nano_batches.VARIANT.strag, context_attention=context_attention
    )
  )


def _run(shape, context_attention="ring"):
  """Losses of three steps and the gradient of the first."""
  count = int(np.prod(shape))
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(*shape), jax.devices()[:count]
  )
  objective = _objective(context_attention)
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
      batch = nano_batches.strag_batch(_BATCH, seed=number)
      state, value, grads = step(state, prefetch.to_mesh(batch, mesh))
      losses.append(float(value))
      first = jax.device_get(grads) if first is None else first
  return losses, first


@pytest.fixture(scope="module", name="single")
def _single():
  return _run((1, 1, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("shape, context_attention", MESHES)
def test_losses_and_first_gradients_equal_one_device(
  shape, context_attention, single, capfd
):
  losses, grads = _run(shape, context_attention)
  assert "Involuntary full rematerialization" not in capfd.readouterr().err
  norm = float(optax.global_norm(single[1]))
  leaves = jax.tree_util.tree_leaves_with_path(grads)
  wrong = {}
  for (path, found), true in zip(leaves, jax.tree.leaves(single[1])):
    largest = np.abs(true).max()
    # The exact gradient of some tensors is zero, for example of a key's bias,
    # which moves all logits of a row alike: there only rounding is left.
    if max(largest, np.abs(found).max()) < 1e-6 * norm:
      continue
    error = np.abs(found - true).max() / largest
    if not error < 1e-5:
      wrong[jax.tree_util.keystr(path)] = (float(error), float(largest))
  assert not wrong
  # The bound: only the order of float32 sums differs.
  np.testing.assert_allclose(losses, single[0], atol=1e-5)
