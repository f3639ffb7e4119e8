"""What a run tells while it trains: files of figures and a progress bar."""

import collections
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import tqdm

from more4d_jax import errors, locations
from more4d_jax.training import metrics as metrics_lib
from more4d_jax.training import step as steps
from more4d_jax.training import throughput


class NonFiniteError(FloatingPointError):
  """A loss, a gradient or a state that is not finite; says at which step.

  Attributes:
    step: its number, where one step is to blame.
  """

  def __init__(self, message: str, step: int | None = None):
    super().__init__(message)
    self.step = step


class RunLog:
  """Fetches metrics one step late, so that the device never waits for it."""

  def __init__(
    self,
    name: str,
    workdir: locations.Location,
    first: int,
    *,
    num_steps: int,
    every: int,
    skip_limit: int,
    work: throughput.Work,
    devices: Sequence[jax.Device],
  ):
    """Opens the files, in process 0 only.

    Args:
      name: shown beside the progress bar.
      workdir: of the run.
      first: number of finished steps.
      num_steps: of the whole run.
      every: steps between updates of the progress bar and of the files.
      skip_limit: number of skipped steps in a row that ends the run.
      work: of a step.
      devices: that share it.
    """
    self._work, self._devices = work, devices
    self._every, self._skip_limit = every, skip_limit
    self._main = jax.process_index() == 0
    self._writers = {}
    if self._main:
      self._writers = {
        name: metrics_lib.MetricsWriter(workdir, name, first)
        for name in ("metrics", "evaluation")
      }
    self._pending: collections.deque[Any] = collections.deque()
    self._bar = tqdm.tqdm(
      total=num_steps,
      initial=first,
      desc=name,
      unit="step",
      disable=not self._main,
      dynamic_ncols=True,
      # A log file is not filled with progress bars.
      mininterval=1.0 if sys.stderr.isatty() else 30.0,
    )
    self._time = time.monotonic()
    self._skipped_in_a_row = 0

  def add(self, step: int, values: steps.Metrics, waited: float) -> None:
    """Queues a step's metrics and writes those of the step before.

    Args:
      step: its number.
      values: on devices.
      waited: seconds until its batch was there.
    """
    self._pending.append((step, values, waited))
    while len(self._pending) > 1:
      self._write(*self._pending.popleft())

  def drain(self) -> None:
    """Writes everything that is queued."""
    while self._pending:
      self._write(*self._pending.popleft())
    self._flush()

  def _flush(self, *, now: bool = True) -> None:
    for writer in self._writers.values():
      writer.flush(now=now)

  def _write(self, step: int, values: steps.Metrics, waited: float) -> None:
    found = {name: float(v) for name, v in jax.device_get(values).items()}
    now = time.monotonic()
    if self._main:
      speed = throughput.figures(
        self._work, now - self._time, waited, self._devices
      )
      self._writers["metrics"].write(step, {**found, **speed})
    self._time = now
    self._bar.update(1)
    skipped = bool(found.get("skip", False))
    self._count_skips(step, skipped)
    for name in ("loss", "gradient_norm"):
      if not (math.isfinite(found[name]) or skipped):
        self._flush()
        raise NonFiniteError(
          f"{name} is {found[name]} at step {step}: start again in another "
          "--workdir with a lower optimizer.learning_rate or optimizer.clip",
          step,
        )
    if step % self._every == 0:
      self._bar.set_postfix(loss=f"{found['loss']:.4g}")
      self._flush(now=False)

  def _count_skips(self, step: int, skipped: bool) -> None:
    """Ends a run that no longer learns."""
    self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
    if self._skipped_in_a_row >= self._skip_limit:
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
    """Closes the files."""
    self._bar.close()
    for writer in self._writers.values():
      writer.close()
