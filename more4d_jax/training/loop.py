"""The one loop: next batch, step, log, checkpoint, evaluate."""

import collections
import dataclasses
import math
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import tqdm
from jax.sharding import Mesh

from more4d_jax import errors
from more4d_jax.checkpoints import training_states
from more4d_jax.training import metrics as metrics_lib
from more4d_jax.training import prefetch
from more4d_jax.training import state as states
from more4d_jax.training import step as steps

# (state, number of finished steps, directory for videos) -> figures
Evaluator = Callable[
  [states.TrainState, int, pathlib.Path], Mapping[str, float]
]


class NonFiniteLossError(FloatingPointError):
  """A loss or gradient that is not finite; says at which step."""


class Interrupted(Exception):  # noqa: N818 (not an error)
  """The run was asked to stop; its state is saved."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """Length of a run, and intervals of its regular work.

  Attributes:
    num_steps: the run ends after this many steps in all.
    log_every: steps between updates of the progress bar and of the files.
    checkpoint_every: steps between checkpoints; the last step always has one.
    checkpoint_keep: number of checkpoints, the newest ones, that stay.
    evaluate_every: steps between evaluations; 0 means at the end only.
    skip_limit: number of skipped steps in a row that ends the run.
  """

  num_steps: int
  log_every: int = 10
  checkpoint_every: int = 200
  checkpoint_keep: int = 2
  evaluate_every: int = 0
  skip_limit: int = 100


@dataclasses.dataclass(frozen=True)
class Training:
  """Everything that the loop needs.

  Attributes:
    name: shown beside the progress bar.
    mesh: where batches go.
    create: makes the first state, sharded.
    abstract: the state's shapes with shardings.
    step: the compiled train step.
    frozen: parameters that are not trained, on the mesh.
    loader: batches of examples.
    evaluators: run on held-out records.
    config: length of the run, and intervals of its regular work.
    seed: stored with each checkpoint.
    trained_on: kind -> identity of the networks that this one is built on,
      also stored with each checkpoint.
  """

  name: str
  mesh: Mesh
  create: Callable[[], states.TrainState]
  abstract: states.TrainState
  step: steps.StepFn
  frozen: Any
  loader: prefetch.Loader
  evaluators: Sequence[Evaluator]
  config: LoopConfig
  seed: int
  trained_on: Mapping[str, str] = dataclasses.field(default_factory=dict)


class _Log:
  """Fetches metrics one step late, so that the device never waits for it."""

  def __init__(self, training: Training, workdir: pathlib.Path, first: int):
    self._config = training.config
    self._main = jax.process_index() == 0
    self._writers = {}
    if self._main:
      self._writers = {
        name: metrics_lib.MetricsWriter(workdir, name, first)
        for name in ("metrics", "evaluation")
      }
    self._pending: collections.deque[Any] = collections.deque()
    self._bar = tqdm.tqdm(
      total=self._config.num_steps,
      initial=first,
      desc=training.name,
      unit="step",
      disable=not self._main,
      dynamic_ncols=True,
      # A log file is not filled with progress bars.
      mininterval=1.0 if sys.stderr.isatty() else 30.0,
    )
    self._time = time.monotonic()
    self._skipped_in_a_row = 0

  def add(self, step: int, values: steps.Metrics) -> None:
    """Queues a step's metrics and writes those of the step before."""
    self._pending.append((step, values))
    while len(self._pending) > 1:
      self._write(*self._pending.popleft())

  def drain(self) -> None:
    """Writes everything that is queued."""
    while self._pending:
      self._write(*self._pending.popleft())
    self._flush()

  def _flush(self) -> None:
    for writer in self._writers.values():
      writer.flush()

  def _write(self, step: int, values: steps.Metrics) -> None:
    found = {name: float(v) for name, v in jax.device_get(values).items()}
    now = time.monotonic()
    if self._main:
      self._writers["metrics"].write(
        step, {**found, "seconds": now - self._time}
      )
    self._time = now
    self._bar.update(1)
    skipped = bool(found.get("skip", False))
    self._count_skips(step, skipped)
    for name in ("loss", "gradient_norm"):
      if not (math.isfinite(found[name]) or skipped):
        self._flush()
        raise NonFiniteLossError(
          f"{name} is {found[name]} at step {step}: start again in another "
          "--workdir with a lower optimizer.learning_rate or optimizer.clip"
        )
    if step % self._config.log_every == 0:
      self._bar.set_postfix(loss=f"{found['loss']:.4g}")
      self._flush()

  def _count_skips(self, step: int, skipped: bool) -> None:
    """Ends a run that no longer learns."""
    self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
    if self._skipped_in_a_row >= self._config.skip_limit:
      self._flush()
      raise errors.UserError(
        f"{self._skipped_in_a_row} steps in a row were skipped, up to step "
        f"{step}: their losses are too high or not finite; look at "
        "metrics.jsonl, then change optimizer.learning_rate or the rules "
        "optimizer.skip_loss_above and optimizer.outlier_deviations"
      )

  def evaluation(self, step: int, values: Mapping[str, float]) -> None:
    """Writes and prints the figures of an evaluation."""
    if self._main:
      self._writers["evaluation"].write(step, dict(values))
      text = ", ".join(f"{name} {v:.4g}" for name, v in values.items())
      self._bar.write(f"step {step}: {text}")
      self._writers["evaluation"].flush()

  def close(self) -> None:
    self._bar.close()
    for writer in self._writers.values():
      writer.close()


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
  """Notes SIGINT and SIGTERM instead of ending between two writes."""
  received: list[int] = []
  kinds = (signal.SIGINT, signal.SIGTERM)
  try:
    old = [signal.signal(k, lambda n, _: received.append(n)) for k in kinds]
  except ValueError:  # Only the main thread may handle signals.
    yield received
    return
  try:
    yield received
  finally:
    for kind, handler in zip(kinds, old):
      signal.signal(kind, handler)


def train(
  training: Training, workdir: str | os.PathLike[str]
) -> states.TrainState:
  """Trains to the end, from the newest checkpoint if there is one.

  Args:
    training: what to train.
    workdir: holds `checkpoints/`, `metrics.jsonl`, `evaluation.jsonl`,
      `events/` and `evaluation/`.

  Raises:
    NonFiniteLossError: names the step.
    Interrupted: after saving, when asked to stop by a signal.
  """
  root = pathlib.Path(workdir)
  checkpoints = training_states.TrainingCheckpoints(
    root / "checkpoints", keep=training.config.checkpoint_keep
  )
  if checkpoints.latest_step() is None:
    state = training.create()
  else:
    state, extra = restore(training, checkpoints)
    training.loader.set_state(extra["loader"])
  first = int(state.step)
  log = _Log(training, root, first)
  batches = prefetch.Prefetcher(training.loader, training.mesh)
  try:
    with _stop_signals() as stop:
      for step in range(first + 1, training.config.num_steps + 1):
        batch, position = next(batches)
        state, values = training.step(state, training.frozen, batch)
        log.add(step, values)
        _after_step(training, root, checkpoints, log, (state, position, step))
        if stop:
          log.drain()
          _save(training, checkpoints, state, position)
          raise Interrupted(
            f"stopped at step {step}, which is saved: the same command goes on"
          )
  finally:
    batches.close()
    checkpoints.close()
    log.close()
  return state


def restore(
  training: Training, checkpoints: training_states.TrainingCheckpoints
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


def _save(
  training: Training,
  checkpoints: training_states.TrainingCheckpoints,
  state: states.TrainState,
  position: dict[str, Any],
) -> None:
  extra = {
    "loader": position,
    "seed": training.seed,
    "trained_on": dict(training.trained_on),
  }
  checkpoints.save(int(state.step), state, extra)


def _after_step(
  training: Training,
  root: pathlib.Path,
  checkpoints: training_states.TrainingCheckpoints,
  log: _Log,
  now: tuple[states.TrainState, dict[str, Any], int],
) -> None:
  """Checkpoints and evaluates when it is time to."""
  (state, position, step), config = now, training.config
  last = step == config.num_steps
  if last or step % config.checkpoint_every == 0:
    log.drain()  # A state whose loss is not finite is never saved.
    _save(training, checkpoints, state, position)
  if last or (config.evaluate_every and step % config.evaluate_every == 0):
    log.drain()
    figures = evaluate(training, state, root)
    if figures:
      log.evaluation(step, figures)


def evaluate(
  training: Training,
  state: states.TrainState,
  workdir: str | os.PathLike[str],
) -> dict[str, float]:
  """Runs every evaluator on a state and joins their figures."""
  folder = pathlib.Path(workdir) / "evaluation"
  figures: dict[str, float] = {}
  for evaluator in training.evaluators:
    figures |= evaluator(state, int(state.step), folder)
  return figures
