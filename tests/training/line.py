"""A training that fits a line, for tests of the loop."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax import partitioning
from more4d_jax.training import optimizer, runs
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

INIT = {
  "w": np.zeros((2, 8), np.float32),
  "b": np.zeros(8, np.float32),
}


def _boxed():
  box = partitioning.param(lambda: jnp.asarray(INIT["w"]), (None, "conv_out"))
  return {"w": box(), "b": jnp.asarray(INIT["b"])}


def loss(params, frozen, batch, keys):
  """Mean square error of the line, whose targets are noisy."""
  noise = 0.1 * jax.random.normal(keys("noise"), batch["y"].shape)
  error = batch["x"] @ params["w"] + params["b"] + frozen["offset"]
  error = error - batch["y"] + noise
  return jnp.mean(error**2), {"largest": jnp.max(jnp.abs(error))}


class Loader:
  """Batches that depend on their number alone."""

  def __init__(self, spoiled=None):
    self.number, self.spoiled = 0, spoiled

  def __next__(self):
    rng = np.random.default_rng(self.number)
    x = rng.standard_normal((8, 2)).astype(np.float32)
    y = np.repeat(x.sum(axis=1, keepdims=True), 8, axis=1) + 1
    self.number += 1
    if self.number == self.spoiled:
      x[0] = np.nan
    return {"x": x, "y": y}

  def get_state(self):
    return {"number": self.number}

  def set_state(self, state):
    self.number = state["number"]

  def close(self):
    pass


def training(
  num_steps, *, loader=None, evaluators=(), loss=loss, skip_limit=9, **changes
):
  """A training of so many steps; changes are those of the optimizer."""
  config = optimizer.OptimizerConfig(
    learning_rate=0.05, warmup_steps=2, **changes
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=2, fsdp=4))
  chain = optimizer.make_optimizer(config, 100, {})
  options = states.StateOptions(config.window, average=config.averages)
  abstract_params = jax.eval_shape(_boxed)
  abstract = states.abstract_state(abstract_params, chain, options)
  place = states.state_shardings(mesh, abstract)
  frozen = {"offset": jnp.float32(0.5)}
  return runs.Training(
    name="line",
    mesh=mesh,
    create=lambda: states.create_state(
      states.create_params(_boxed, mesh, {}),
      abstract_params,
      chain,
      mesh,
      options,
    ),
    abstract=states.abstract_with_shardings(place, abstract),
    step=steps.jit_step(
      steps.make_step(loss, chain, config, 3),
      mesh,
      place,
      partitioning.shardings(mesh, frozen),
    ),
    frozen=frozen,
    loader=loader or Loader(),
    evaluators=evaluators,
    config=runs.LoopConfig(
      num_steps,
      checkpoint_every=4,
      log_every=2,
      evaluate_every=5,
      skip_limit=skip_limit,
    ),
    seed=3,
  )


def losses(folder):
  """Losses that a run wrote, by step."""
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line)["loss"] for line in lines]
