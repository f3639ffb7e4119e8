"""The loop on a line fitted by gradient descent: resuming, stopping, errors."""

import dataclasses
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import errors, partitioning
from more4d_jax.training import loop, optimizer, run_log, runs, stopping
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

_INIT = {
  "w": np.zeros((2, 8), np.float32),
  "b": np.zeros(8, np.float32),
}


def _boxed():
  box = partitioning.param(lambda: jnp.asarray(_INIT["w"]), (None, "conv_out"))
  return {"w": box(), "b": jnp.asarray(_INIT["b"])}


def _loss(params, frozen, batch, keys):
  noise = 0.1 * jax.random.normal(keys("noise"), batch["y"].shape)
  error = batch["x"] @ params["w"] + params["b"] + frozen["offset"]
  error = error - batch["y"] + noise
  return jnp.mean(error**2), {"largest": jnp.max(jnp.abs(error))}


class _Loader:
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


def _training(
  num_steps, *, loader=None, evaluators=(), loss=_loss, skip_limit=9, **changes
):
  config = optimizer.OptimizerConfig(
    learning_rate=0.05, warmup_steps=2, **changes
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=2, fsdp=4))
  chain = optimizer.make_optimizer(config, 100, {})
  abstract_params = jax.eval_shape(_boxed)
  abstract = states.abstract_state(abstract_params, chain, config.window)
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
      config.window,
    ),
    abstract=states.abstract_with_shardings(place, abstract),
    step=steps.jit_step(
      steps.make_step(loss, chain, config, 3),
      mesh,
      place,
      partitioning.shardings(mesh, frozen),
    ),
    frozen=frozen,
    loader=loader or _Loader(),
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


def _losses(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line)["loss"] for line in lines]


def test_state_is_sharded_and_the_loss_falls(tmp_path):
  state = loop.train(_training(40), tmp_path)
  assert state.params["w"].sharding.spec == jax.sharding.PartitionSpec(
    None, ("fsdp",)
  )
  losses = _losses(tmp_path)
  assert len(losses) == 40
  assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("changes", [{}, {"outlier_deviations": 6.0}])
def test_resumed_run_repeats_the_uninterrupted_one_exactly(tmp_path, changes):
  whole = loop.train(_training(11, **changes), tmp_path / "whole")
  # Last checkpoint at step 6.
  loop.train(_training(6, **changes), tmp_path / "parts")
  resumed = loop.train(_training(11, **changes), tmp_path / "parts")
  assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
  for ours, theirs in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole)):
    np.testing.assert_array_equal(ours, theirs)


def test_a_run_does_not_go_on_over_other_networks(tmp_path):
  def on(identity, num_steps):
    training = _training(num_steps)
    return dataclasses.replace(training, trained_on={"video_vae": identity})

  loop.train(on("aaaa", 2), tmp_path)
  with pytest.raises(errors.UserError, match="started on another video_vae"):
    loop.train(on("bbbb", 3), tmp_path)
  assert loop.train(on("aaaa", 3), tmp_path).step == 3


def test_a_signal_saves_and_the_run_goes_on(tmp_path):
  class Stopping(_Loader):
    def __next__(self):
      if self.number == 5:
        os.kill(os.getpid(), signal.SIGTERM)
      return super().__next__()

  with pytest.raises(stopping.Interrupted, match="is saved"):
    loop.train(_training(30, loader=Stopping()), tmp_path / "parts")
  done = len(_losses(tmp_path / "parts"))
  assert 0 < done < 30
  loop.train(_training(30), tmp_path / "parts")
  loop.train(_training(30), tmp_path / "whole")
  assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")


# Step 4 has a checkpoint; at step 6 the next step is already under way.
@pytest.mark.parametrize("step", [4, 6])
def test_a_loss_that_is_not_finite_names_its_step_and_is_not_saved(
  tmp_path, step
):
  with pytest.raises(run_log.NonFiniteError, match=f"at step {step}"):
    loop.train(_training(8, loader=_Loader(spoiled=step)), tmp_path)
  saved = [p.name for p in (tmp_path / "checkpoints").iterdir()]
  assert str(step) not in saved


def test_average_follows_its_recursion(tmp_path):
  training = _training(3, ema_decay=0.9)
  state = training.create()
  expected = np.asarray(state.ema["b"])
  for number in range(3):
    batch = {n: jnp.asarray(v) for n, v in next(training.loader).items()}
    batch = jax.device_put(batch, partitioning.batch_sharding(training.mesh))
    state, _ = training.step(state, training.frozen, batch)
    decay = min(0.9, (1 + number) / (10 + number))
    expected = decay * expected + (1 - decay) * np.asarray(state.params["b"])
  np.testing.assert_allclose(state.ema["b"], expected, rtol=1e-6)


def test_high_losses_are_skipped_and_counted(tmp_path):
  training = _training(3, skip_loss_above=1e-6, skip_after=1)
  state = loop.train(training, tmp_path)
  assert int(state.skipped) == 2  # The first step is never skipped.
  assert int(state.step) == 3
  again = _training(1)
  once = loop.train(again, tmp_path / "once")
  np.testing.assert_array_equal(state.params["b"], once.params["b"])


def test_a_spoiled_batch_is_skipped_where_outliers_are(tmp_path):
  training = _training(6, loader=_Loader(spoiled=3), outlier_deviations=6.0)
  state = loop.train(training, tmp_path)
  assert int(state.skipped) == 1
  assert int(state.history.count) == 5
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
  assert _losses(tmp_path)[2] is None  # The line says so.


def test_too_many_skipped_steps_in_a_row_end_the_run(tmp_path):
  training = _training(9, skip_loss_above=1e-6, skip_after=2, skip_limit=3)
  with pytest.raises(errors.UserError, match=r"3 steps in a row .* step 5"):
    loop.train(training, tmp_path)


def test_evaluators_run_when_it_is_time_and_at_the_end(tmp_path):
  seen = []

  def evaluator(state, step, folder):
    seen.append((step, int(state.step), folder.name))
    return {"figure": 2.0}

  loop.train(_training(7, evaluators=[evaluator]), tmp_path)
  assert seen == [(5, 5, "evaluation"), (7, 7, "evaluation")]
  lines = (tmp_path / "evaluation.jsonl").read_text().splitlines()
  assert json.loads(lines[0]) == {"step": 5, "figure": 2.0}


def test_checkpoint_of_another_shape_is_one_clear_error(tmp_path):
  loop.train(_training(2), tmp_path)
  training = _training(4)
  other = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct((*s.shape, 3), s.dtype), training.abstract
  )
  from more4d_jax.checkpoints import training_states

  checkpoints = training_states.TrainingCheckpoints(tmp_path / "checkpoints")
  with pytest.raises(errors.UserError, match="does not fit"):
    checkpoints.restore(other)
  checkpoints.close()
