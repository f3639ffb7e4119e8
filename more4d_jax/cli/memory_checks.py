"""Asks whether devices have the memory, and which flags would take less."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import jax

from more4d_jax import errors, generation, generation_memory, pipeline
from more4d_jax.checkpoints import dtypes
from more4d_jax.cli import run_flags

# A checkpoint held in a type and run in a way, of which headers are read.
Open = Callable[[dtypes.Held | None, generation.Options], pipeline.Pipeline]


def check(
  open_pipeline: Open,
  dtype: dtypes.Held | None,
  loaded: pipeline.Pipeline,
  samples: Mapping[str, int],
) -> None:
  """Refuses what the devices have no memory for, before weights are read.

  Args:
    open_pipeline: opens the checkpoint in another way.
    dtype: in which it is held.
    loaded: how it is to be run.
    samples: how many go through a network at once, by its kind.

  Raises:
    UserError: with the figures, and the first flags with which it would fit.
  """
  options = loaded.generator.options
  remedies = [
    (flags, lambda held=held, run=run: open_pipeline(held, run).generator)
    for flags, held, run in _others(dtype, options)
  ]
  generation_memory.check(loaded.generator, samples, remedies)


def _others(
  dtype: dtypes.Held | None, options: generation.Options
) -> Iterator[tuple[str, dtypes.Held | None, generation.Options]]:
  """Ways that take less memory, those that cost least time first."""
  halved = dataclasses.replace(options, halves="sequence")
  sequence = "--guidance-halves sequence"
  if options.halves != "sequence":
    yield sequence, dtype, halved
  if options.mesh is None and len(jax.local_devices()) > 1:
    spread = dataclasses.replace(options, mesh="auto")
    yield "--mesh auto", dtype, spread
  if dtype != dtypes.INT8:
    yield f"--dtype {dtypes.INT8}", dtypes.INT8, options
    if options.halves != "sequence":
      yield f"--dtype {dtypes.INT8} {sequence}", dtypes.INT8, halved
  if not options.offload and _may_offload():
    waiting = dataclasses.replace(halved, offload=True)
    yield f"--offload {sequence}", dtype, waiting


def _may_offload() -> bool:
  """Whether there is host memory beside that of the devices."""
  try:
    run_flags.check_offload(jax.local_devices()[0])
  except errors.UserError:
    return False
  return True
