"""Each task overfits one scene at size nano."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.training import optimizer
from more4d_jax.training import state as states
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import vism
from tests.training import nano_batches

CASES = {
  # Objective, batch, rate, steps, largest allowed share of the first loss.
  "video_vae": (
    nano_batches.video_objective(depth_share=0.0, motion_share=0.0),
    nano_batches.video_batch(1),
    3e-3,
    60,
    0.5,
  ),
  "depth": (
    nano_batches.depth_objective(),
    nano_batches.depth_batch(1),
    1e-3,
    50,
    0.4,
  ),
  "motion_vae": (
    nano_batches.motion_objective(scale="mean", moving=0.5),
    nano_batches.motion_batch(1),
    5e-3,
    60,
    0.5,
  ),
  "strag": (
    nano_batches.strag_objective(nano_batches.NONE),
    nano_batches.strag_batch(1),
    3e-3,
    150,
    0.5,
  ),
  "vism": (
    nano_batches.vism_objective(
      vism.ViSMDropout(text=0.0, image=0.0, all_hole=0.0)
    ),
    nano_batches.vism_batch(1),
    3e-3,
    150,
    0.5,
  ),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", CASES)
def test_one_scene_is_learnt(task):
  objective, batch, rate, count, share = CASES[task]
  # Latents of one scene, seen at eight noise levels a step.
  copies = 8 if task in ("strag", "vism") else 1
  batch = {
    name: jnp.asarray(np.repeat(value, copies, axis=0))
    for name, value in batch.items()
  }
  config = optimizer.OptimizerConfig(
    learning_rate=rate, warmup_steps=5, weight_decay=0.0
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(), jax.devices()[:1])
  chain = optimizer.make_optimizer(config, count, {})
  boxed = nano_batches.abstract(objective)
  place = states.state_shardings(mesh, states.abstract_state(boxed, chain))

  def init():
    return objective.init(jax.random.key(0))

  params = states.create_params(init, mesh, {})
  state = states.create_state(params, boxed, chain, mesh)

  def loss(params, frozen, batch, keys):
    del frozen
    return objective.loss(params, batch, keys)

  step = steps.jit_step(
    steps.make_step(loss, chain, config, 0), mesh, place, {}
  )
  losses = []
  for _ in range(count):
    state, metrics = step(state, {}, batch)
    losses.append(float(metrics["loss"]))
  print(task, losses[0], np.mean(losses[-10:]))
  assert np.mean(losses[-10:]) < share * np.mean(losses[:3])
