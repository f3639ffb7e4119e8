"""Metrics of a run: JSON lines, and TensorBoard events."""

import json
import math
import os
import time
from collections.abc import Iterator
from typing import Any

from more4d_jax import locations


class MetricsWriter:
  """Writes `NAME.jsonl` and `events/NAME`; a resumed run continues them."""

  def __init__(
    self, workdir: str | os.PathLike[str], name: str, first_step: int
  ):
    """Opens both files; lines of steps that will be repeated are dropped.

    Args:
      workdir: of the run.
      name: for example "metrics", with one line per step.
      first_step: number of finished steps; later lines are removed.
    """
    import tensorboardX  # Where PyTorch is installed it loads that too.

    self._mirror = locations.Mirror(locations.path(workdir))
    self._path = self._mirror.fetch(f"{name}.jsonl")
    if self._path.exists():
      kept = [
        line
        for line in self._path.read_text().splitlines(keepends=True)
        # An interrupted write may leave half a line at the end.
        if line.endswith("\n") and json.loads(line)["step"] <= first_step
      ]
      temporary = self._path.with_suffix(".partial")
      temporary.write_text("".join(kept))
      os.replace(temporary, self._path)
    self._lines = self._path.open("a")
    # TensorBoard then forgets the steps that will be repeated. A name with a
    # time of its own keeps the events of a run that was resumed at once.
    self._events = tensorboardX.SummaryWriter(
      str(self._mirror.here / "events" / name),
      purge_step=first_step,
      filename_suffix=f".{time.time_ns()}",
    )

  def write(self, step: int, values: dict[str, float]) -> None:
    """Writes one line.

    A value that is not finite, as the mean of nothing is, becomes null in the
    line and is left out for TensorBoard.
    """
    line = {
      name: value if math.isfinite(value) else None
      for name, value in values.items()
    }
    self._lines.write(json.dumps({"step": step, **line}) + "\n")
    for tag, value in line.items():
      if value is not None:
        self._events.add_scalar(tag, value, step)

  def flush(self, *, now: bool = True) -> None:
    """Makes what was written visible to readers.

    Args:
      now: also where each time costs a copy to a distant workdir.
    """
    self._lines.flush()
    self._events.flush()
    self._mirror.renew(now=now)

  def close(self) -> None:
    """Closes both files."""
    self._lines.close()
    self._events.close()
    self._mirror.close()


def read(
  workdir: str | os.PathLike[str], name: str, figure: str
) -> dict[int, float]:
  """A figure of the lines of `NAME.jsonl` by step; empty without the file."""
  return {
    line["step"]: line[figure]
    for line in lines(locations.path(workdir) / f"{name}.jsonl")
    if line.get(figure) is not None
  }


def lines(path: locations.Location) -> Iterator[dict[str, Any]]:
  """What a writer's file of JSON lines holds; nothing without the file."""
  for text in path.read_text().splitlines() if path.exists() else ():
    try:
      yield json.loads(text)
    except json.JSONDecodeError:  # Of an interrupted write.
      continue
