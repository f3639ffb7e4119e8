"""The loop on a line fitted by gradient descent: resuming, stopping, errors."""

import dataclasses
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import errors, partitioning
from more4d_jax.checkpoints import training_states
from more4d_jax.training import loop, run_log, stopping
from tests.training import line


def test_state_is_sharded_and_the_loss_falls(tmp_path):
  state = loop.train(line.training(40), tmp_path)
  assert state.params["w"].sharding.spec == jax.sharding.PartitionSpec(
    None, ("fsdp",)
  )
  losses = line.losses(tmp_path)
  assert len(losses) == 40
  assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("changes", [{}, {"outlier_deviations": 6.0}])
def test_resumed_run_repeats_the_uninterrupted_one_exactly(tmp_path, changes):
  whole = loop.train(line.training(11, **changes), tmp_path / "whole")
  # Last checkpoint at step 6.
  loop.train(line.training(6, **changes), tmp_path / "parts")
  resumed = loop.train(line.training(11, **changes), tmp_path / "parts")
  assert line.losses(tmp_path / "parts") == line.losses(tmp_path / "whole")
  for ours, theirs in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole)):
    np.testing.assert_array_equal(ours, theirs)


def test_what_is_written_in_the_background_is_the_state_of_its_step(tmp_path):
  training = line.training(11)
  config = dataclasses.replace(
    training.config,
    background=True,
    checkpoint_every=1,
    evaluate_every=0,
    keep=training_states.Keeping(newest=20),
  )
  loop.train(dataclasses.replace(training, config=config), tmp_path)
  for number in (3, 7, 10):  # The next steps were given the same buffers.
    alone = loop.train(line.training(number), tmp_path / str(number))
    place = tmp_path / "checkpoints"
    with training_states.TrainingCheckpoints(place) as checkpoints:
      found, _ = checkpoints.restore(training.abstract, number)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(alone)):
      np.testing.assert_array_equal(ours, theirs)


def test_a_run_does_not_go_on_over_other_networks(tmp_path):
  def on(identity, num_steps):
    training = line.training(num_steps)
    return dataclasses.replace(training, trained_on={"video_vae": identity})

  loop.train(on("aaaa", 2), tmp_path)
  with pytest.raises(errors.UserError, match="started on another video_vae"):
    loop.train(on("bbbb", 3), tmp_path)
  assert loop.train(on("aaaa", 3), tmp_path).step == 3


def test_a_signal_saves_and_the_run_goes_on(tmp_path):
  class Stopping(line.Loader):
    def __next__(self):
      if self.number == 5:
        os.kill(os.getpid(), signal.SIGTERM)
      return super().__next__()

  with pytest.raises(stopping.Interrupted, match="is saved"):
    loop.train(line.training(30, loader=Stopping()), tmp_path / "parts")
  done = len(line.losses(tmp_path / "parts"))
  assert 0 < done < 30
  loop.train(line.training(30), tmp_path / "parts")
  loop.train(line.training(30), tmp_path / "whole")
  assert line.losses(tmp_path / "parts") == line.losses(tmp_path / "whole")


# Step 4 has a checkpoint; at step 6 the next step is already under way.
@pytest.mark.parametrize("step", [4, 6])
def test_a_loss_that_is_not_finite_names_its_step_and_is_not_saved(
  tmp_path, step
):
  with pytest.raises(run_log.NonFiniteError, match=f"at step {step}"):
    loop.train(line.training(8, loader=line.Loader(spoiled=step)), tmp_path)
  saved = [p.name for p in (tmp_path / "checkpoints").iterdir()]
  assert str(step) not in saved


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
  training = line.training(4)

  def step(state, frozen, batch):
    state, values = training.step(state, frozen, batch)
    spoiled = {**state.ema, "b": state.ema["b"] * jnp.nan}
    return state.replace(ema=spoiled), values

  with pytest.raises(run_log.NonFiniteError, match="not finite after step 4"):
    loop.train(dataclasses.replace(training, step=step), tmp_path)
  assert not [p for p in (tmp_path / "checkpoints").iterdir() if p.name == "4"]


def test_checkpoints_stay_by_number_and_by_held_out_loss(tmp_path):
  losses = {2: 5.0, 4: 1.0, 6: 3.0, 8: 2.0, 10: 4.0, 12: 6.0}

  def evaluator(state, step, folder):
    return {"loss": losses[step]}

  training = line.training(12, evaluators=[evaluator])
  config = dataclasses.replace(
    training.config,
    evaluate_every=2,
    checkpoint_every=0,
    keep=training_states.Keeping(newest=1, best=2),
  )
  loop.train(dataclasses.replace(training, config=config), tmp_path)
  saved = {p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()}
  assert saved == {"4", "8", "12"}


def test_checkpoints_are_made_by_the_time(tmp_path, monkeypatch):
  class Clock:
    """A step takes half a minute."""

    now = 0.0

    def monotonic(self):
      return self.now

  clock = Clock()
  monkeypatch.setattr(loop, "time", clock)
  training = line.training(7)

  def step(*given):
    clock.now += 30
    return training.step(*given)

  config = dataclasses.replace(
    training.config,
    checkpoint_every=0,
    checkpoint_minutes=1.5,
    evaluate_every=0,
    keep=training_states.Keeping(newest=9),
  )
  loop.train(dataclasses.replace(training, config=config, step=step), tmp_path)
  saved = {p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()}
  assert saved == {"3", "6", "7"}


def test_a_signal_during_evaluation_stops_at_once(tmp_path):
  seen = []

  def evaluator(state, step, folder):
    seen.append(step)
    if len(seen) == 1:
      os.kill(os.getpid(), signal.SIGTERM)
      raise AssertionError("it went on")
    return {"loss": 1.0}

  training = line.training(5, evaluators=[evaluator])
  with pytest.raises(stopping.Interrupted) as caught:
    loop.train(training, tmp_path)
  assert caught.value.number == signal.SIGTERM
  assert (tmp_path / "checkpoints" / "5").is_dir()
  for _ in range(2):  # What was left out is made up for, once.
    loop.train(line.training(5, evaluators=[evaluator]), tmp_path)
  assert seen == [5, 5]


def test_a_checkpoint_that_cannot_be_read_is_not_to_be_deleted(
  tmp_path, monkeypatch
):
  loop.train(line.training(2), tmp_path)

  def broken(*_, **__):
    raise OSError(5, "Input/output error", str(tmp_path))

  monkeypatch.setattr(training_states.ocp.CheckpointManager, "restore", broken)
  with pytest.raises(errors.UserError, match="could not be read") as caught:
    loop.train(line.training(4), tmp_path)
  assert "delete" not in str(caught.value)


def test_a_checkpoint_for_which_there_is_no_room_is_not_begun(
  tmp_path, monkeypatch
):
  usage = shutil.disk_usage
  left = iter([1 << 30, 1 << 30, 100])
  monkeypatch.setattr(
    shutil, "disk_usage", lambda p: usage(p)._replace(free=next(left))
  )
  with pytest.raises(
    errors.UserError, match=r"1e-07 GB left: .* checkpoint 5 is whole"
  ):
    loop.train(line.training(9), tmp_path)
  saved = {p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()}
  assert saved == {"4", "5"}


def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(
  tmp_path, monkeypatch
):
  save = training_states.ocp.CheckpointManager.save

  def full(self, step, **options):
    if step == 8:
      raise OSError(28, "No space left on device")
    return save(self, step, **options)

  monkeypatch.setattr(training_states.ocp.CheckpointManager, "save", full)
  with pytest.raises(
    errors.UserError, match=r"No space left.* checkpoint 5 is whole"
  ):
    loop.train(line.training(9), tmp_path)
  monkeypatch.undo()
  assert loop.train(line.training(9), tmp_path).step == 9


def test_steps_compile_once_and_move_nothing_unasked(tmp_path):
  training, compiled, seen = line.training(6), [], []
  event = "/jax/core/compile/backend_compile_duration"
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: compiled.append(name) if name == event else None
  )

  def step(*given):
    seen.append(len(compiled))
    guard = "disallow" if 1 < len(seen) < 6 else "allow"
    jax.config.update("jax_transfer_guard", guard)
    return run(*given)

  config = dataclasses.replace(
    training.config, checkpoint_every=0, evaluate_every=0
  )
  frozen = jax.device_put(
    training.frozen, partitioning.replicated(training.mesh)
  )
  training = dataclasses.replace(training, frozen=frozen, config=config)
  run = training.step
  try:
    loop.train(dataclasses.replace(training, step=step), tmp_path)
  finally:
    jax.config.update("jax_transfer_guard", "allow")
    jax.monitoring.clear_event_listeners()
  assert seen[1] > seen[0]  # The listener hears of compilations.
  assert seen[1:] == [seen[1]] * 5


def test_a_step_that_is_not_finite_is_explained_with_what_went_into_it(
  tmp_path,
):
  seen = []

  def explain(state, batch, position, step):
    spoiled = bool(jnp.isnan(batch["x"]).any())
    finite = all(bool(jnp.isfinite(p).all()) for p in state.params.values())
    seen.append((spoiled, finite, position["number"], step))
    return "its records are a, b"

  training = dataclasses.replace(
    line.training(8, loader=line.Loader(spoiled=6)), explain=explain
  )
  with pytest.raises(
    run_log.NonFiniteError, match=r"at step 6: .*; its records are a, b"
  ):
    loop.train(training, tmp_path)
  assert seen == [(True, True, 6, 6)]


def test_average_follows_its_recursion(tmp_path):
  training = line.training(3, ema_decay=0.9)
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
  training = line.training(3, skip_loss_above=1e-6, skip_after=1)
  state = loop.train(training, tmp_path)
  assert int(state.skipped) == 2  # The first step is never skipped.
  assert int(state.step) == 3
  again = line.training(1)
  once = loop.train(again, tmp_path / "once")
  np.testing.assert_array_equal(state.params["b"], once.params["b"])


def test_a_spoiled_batch_is_skipped_where_outliers_are(tmp_path):
  training = line.training(
    6, loader=line.Loader(spoiled=3), outlier_deviations=6.0
  )
  state = loop.train(training, tmp_path)
  assert int(state.skipped) == 1
  assert int(state.history.count) == 5
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
  assert line.losses(tmp_path)[2] is None  # The line says so.


def test_too_many_skipped_steps_in_a_row_end_the_run(tmp_path):
  training = line.training(9, skip_loss_above=1e-6, skip_after=2, skip_limit=3)
  with pytest.raises(errors.UserError, match=r"3 steps in a row .* step 5"):
    loop.train(training, tmp_path)


def test_evaluators_run_when_it_is_time_and_at_the_end(tmp_path):
  seen = []

  def evaluator(state, step, folder):
    seen.append((step, int(state.step), folder.name))
    return {"figure": 2.0}

  loop.train(line.training(7, evaluators=[evaluator]), tmp_path)
  assert seen == [(5, 5, "evaluation"), (7, 7, "evaluation")]
  lines = (tmp_path / "evaluation.jsonl").read_text().splitlines()
  assert json.loads(lines[0]) == {"step": 5, "figure": 2.0}


def test_checkpoint_of_another_shape_is_one_clear_error(tmp_path):
  loop.train(line.training(2), tmp_path)
  training = line.training(4)
  other = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct((*s.shape, 3), s.dtype), training.abstract
  )
  checkpoints = training_states.TrainingCheckpoints(tmp_path / "checkpoints")
  with pytest.raises(errors.UserError, match=r"does not fit this run: .* has "):
    checkpoints.restore(other)
  checkpoints.close()
