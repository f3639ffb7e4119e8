"""The one loop: next batch, step, log, checkpoint, evaluate."""

import collections
import os
import time
from typing import Any

import jax

from more4d_jax import errors, locations
from more4d_jax.checkpoints import training_states
from more4d_jax.training import (
  metrics,
  prefetch,
  profiling,
  run_log,
  runs,
  stopping,
)
from more4d_jax.training import state as states

# What a process may ask all of them for, beside the numbers of signals.
_SAVE = 1


def train(
  training: runs.Training, workdir: str | os.PathLike[str]
) -> states.TrainState:
  """Trains to the end, from the newest checkpoint if there is one.

  Args:
    training: what to train.
    workdir: holds `checkpoints/`, `metrics.jsonl`, `evaluation.jsonl`,
      `events/` and `evaluation/`.

  Raises:
    NonFiniteError: names the step.
    Interrupted: after saving, when a process was asked to stop by a signal.
  """
  root, config = locations.path(workdir), training.config
  losses = metrics.read(root, "evaluation", "loss")
  with (
    training_states.TrainingCheckpoints(
      root / "checkpoints", config.keep, losses, config.background
    ) as checkpoints,
    stopping.noted() as signals,
  ):
    run = _Run(training, root, checkpoints, losses, signals)
    try:
      run.catch_up()
      while run.step < config.num_steps:
        run.advance()
    except run_log.NonFiniteError as error:
      raise run.explained(error) from error
    finally:
      run.close()
  return run.state


class _Run:
  """A training on its way.

  Attributes:
    state: after the newest step.
    step: its number.
  """

  def __init__(
    self,
    training: runs.Training,
    root: locations.Location,
    checkpoints: training_states.TrainingCheckpoints,
    losses: dict[int, float],
    signals: list[int],
  ):
    self._training, self._root = training, root
    self._checkpoints, self._losses = checkpoints, losses
    self._signals = signals
    if checkpoints.latest_step() is None:
      self.state = training.create()
    else:
      self.state, extra = restore(training, checkpoints)
      training.loader.set_state(extra["loader"])
    self.step = self._saved = int(self.state.step)
    self._saved_at = time.monotonic()
    config = training.config
    profiling.check(config.profile, self.step + 1, config.num_steps)
    self._profile = profiling.Profile(config.profile, root / "profile")
    # Metrics are looked at one step late, so that the batch before is kept.
    self._recent: collections.deque[Any] = collections.deque(maxlen=2)
    self._log = run_log.RunLog(
      training.name,
      root,
      self.step,
      num_steps=config.num_steps,
      every=config.log_every,
      skip_limit=config.skip_limit,
      work=training.work,
      devices=list(training.mesh.devices.flat),
    )
    self._agreed = stopping.Agreement(training.mesh)
    self._batches = prefetch.Prefetcher(training.loader, training.mesh)

  def close(self) -> None:
    """Ends reading and closes the files."""
    self._profile.close()
    self._batches.close()
    self._log.close()

  def catch_up(self) -> None:
    """Evaluates the newest checkpoint where a run before was kept from it."""
    if self.step and self._evaluated() and self.step not in self._losses:
      self._evaluate()

  def _evaluated(self) -> bool:
    """Whether the state after this step is evaluated."""
    config = self._training.config
    last = self.step == config.num_steps
    return last or _every(config.evaluate_every, self.step)

  def advance(self) -> None:
    """One step, and what is due after it."""
    training, config = self._training, self._training.config
    self._profile.before(self.step + 1)
    begin = time.monotonic()
    batch, position = next(self._batches)
    waited = time.monotonic() - begin
    self.state, values = training.step(self.state, training.frozen, batch)
    self.step += 1
    self._recent.append((self.step, batch, position))
    self._profile.after(self.step, values)
    self._log.add(self.step, values, waited)
    asked = self._agreed(self._signals[0] if self._signals else self._timed())
    stopped = asked > _SAVE
    # The answer may be to a question from before the newest checkpoint.
    timed = asked == _SAVE and self.step > self._saved + 1
    counted = _every(config.checkpoint_every, self.step)
    if self._evaluated() or counted or timed or stopped:
      self._save(position)
    if stopped:
      raise stopping.Interrupted(
        f"stopped at step {self.step}, which is saved: the same command goes "
        "on",
        asked,
        together=True,
      )
    if self._evaluated():
      self._evaluate()

  def explained(self, error: run_log.NonFiniteError) -> run_log.NonFiniteError:
    """The error with the records and the first tensor of its step."""
    explain = self._training.explain
    for step, batch, position in self._recent:
      if step == error.step and explain is not None:
        more = explain(self.state, batch, position, step)
        return run_log.NonFiniteError(f"{error}; {more}", step)
    return error

  def _timed(self) -> int:
    """Whether this process wants a checkpoint because of the time."""
    seconds = 60 * self._training.config.checkpoint_minutes
    elapsed = time.monotonic() - self._saved_at
    main = jax.process_index() == 0
    return _SAVE if main and 0 < seconds <= elapsed else 0

  def _save(self, position: dict[str, Any]) -> None:
    self._log.drain()  # A state whose loss is not finite is never saved.
    if not states.all_finite(self.state):
      raise run_log.NonFiniteError(
        f"the state is not finite after step {self.step}: start again in "
        "another --workdir with a lower optimizer.learning_rate"
      )
    extra = {
      "loader": position,
      "seed": self._training.seed,
      "trained_on": dict(self._training.trained_on),
    }
    self._checkpoints.save(self.step, self.state, extra)
    self._saved, self._saved_at = self.step, time.monotonic()

  def _evaluate(self) -> None:
    self._checkpoints.wait()
    with stopping.at_once(self._signals):  # The state is saved.
      figures = evaluate(self._training, self.state, self._root)
    if figures:
      self._log.evaluation(self.step, figures)
    if "loss" in figures:
      self._losses[self.step] = figures["loss"]


def _every(interval: int, step: int) -> bool:
  return interval > 0 and step % interval == 0


def restore(
  training: runs.Training, checkpoints: training_states.TrainingCheckpoints
) -> tuple[states.TrainState, dict[str, Any]]:
  """Reads the newest checkpoint; returns the state and what lies beside it.

  Raises:
    UserError: if it does not fit, or was trained on other networks.
  """
  state, extra = checkpoints.restore(training.abstract)
  for kind, identity in extra.get("trained_on", {}).items():
    if training.trained_on.get(kind) != identity:
      raise errors.UserError(
        f"this run was started on another {kind} than the one that "
        f"init_from.{kind} holds now: use another --workdir, or the {kind} it "
        "was started on"
      )
  return state, extra


def evaluate(
  training: runs.Training,
  state: states.TrainState,
  workdir: str | os.PathLike[str],
) -> dict[str, float]:
  """Runs every evaluator on a state and joins their figures."""
  folder = locations.path(workdir) / "evaluation"
  figures: dict[str, float] = {}
  for evaluator in training.evaluators:
    figures |= evaluator(state, int(state.step), folder)
  return figures
