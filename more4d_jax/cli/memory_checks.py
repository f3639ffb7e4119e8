"""Asks whether devices have the memory, and which flags would take less."""

import dataclasses
from collections.abc import Callable, Iterator

import jax

from more4d_jax import (
  errors,
  generation,
  generation_memory,
  scene_size,
)
from more4d_jax.checkpoints import dtypes
from more4d_jax.cli import run_flags
from more4d_jax.sampling import longer_clips

_INT8 = f"--dtype {dtypes.INT8}"
_SEQUENCE = "--guidance-halves sequence"
_SHARES = (3 / 4, 1 / 2, 1 / 4)  # Of the frames, that may be drawn instead.


@dataclasses.dataclass(frozen=True)
class Way:
  """How a command may be run, as far as memory is concerned.

  Attributes:
    dtype: in which networks are held.
    options: how they are run.
    frames: that the model draws; None where the command has no say.
    size: of scenes; None where the command has no say.
  """

  dtype: dtypes.Held | None
  options: generation.Options
  frames: int | None = None
  size: scene_size.SceneSize | None = None


# What is asked of the devices in some way; headers of networks are read.
Ask = Callable[[Way], generation_memory.Asked]


def check(asked: generation_memory.Asked, way: Way, ask: Ask) -> None:
  """Refuses what the devices have no memory for, before weights are read.

  Args:
    asked: networks, and what goes through them.
    way: in which that is to be done.
    ask: says what would be asked in another way.

  Raises:
    UserError: with the figures, and the first flags with which it would fit.
  """
  remedies = (
    (flags, lambda other=other: ask(other)) for flags, other in _others(way)
  )
  generation_memory.check(*asked, remedies)


def _others(way: Way) -> Iterator[tuple[str, Way]]:
  """Ways that take less memory, those that cost least first."""
  options = way.options

  def running(**changes: object) -> Way:
    return dataclasses.replace(
      way, options=dataclasses.replace(options, **changes)
    )

  halved = running(halves="sequence")
  if options.halves != "sequence":
    yield _SEQUENCE, halved
  if options.mesh is None and len(jax.local_devices()) > 1:
    yield "--mesh auto", running(mesh="auto")
  if way.dtype != dtypes.INT8:
    yield _INT8, dataclasses.replace(way, dtype=dtypes.INT8)
    if options.halves != "sequence":
      both = dataclasses.replace(halved, dtype=dtypes.INT8)
      yield f"{_INT8} {_SEQUENCE}", both
  if not options.offload and _may_offload():
    waiting = running(halves="sequence", offload=True)
    yield f"--offload {_SEQUENCE}", waiting
  if way.size not in (None, "model"):
    yield "--scene-size model", dataclasses.replace(way, size="model")
  for frames in _fewer(way.frames):
    yield f"--frames {frames}", dataclasses.replace(way, frames=frames)


def _fewer(frames: int | None) -> list[int]:
  """Numbers of frames below one, the largest first."""
  if frames is None:
    return []
  step = longer_clips.STEP
  found = [int(share * (frames - 1)) // step * step + 1 for share in _SHARES]
  return [n for n in dict.fromkeys(found) if n >= longer_clips.MIN_FRAMES]


def _may_offload() -> bool:
  """Whether there is host memory beside that of the devices."""
  try:
    run_flags.check_offload(jax.local_devices()[0])
  except errors.UserError:
    return False
  return True
