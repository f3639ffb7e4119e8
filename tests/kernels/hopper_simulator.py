"""What tests of the Hopper kernels need to run in Mosaic GPU's simulator."""

import contextlib
from collections.abc import Iterator

import jax
import pytest
from jax.experimental.pallas import mosaic_gpu as plgpu

simulated = pytest.mark.skipif(
  not hasattr(plgpu, "InterpretGPUParams"),
  reason="the simulator of Hopper GPUs comes with jax 0.11",
)
RACE = "RACE DETECTED"


@contextlib.contextmanager
def a_race(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
  """Fails unless what runs inside, and is waited for there, has a race.

  jax 0.12 raises an error where 0.11 prints a line.
  """
  try:
    yield
    report = capfd.readouterr().out
  except jax.errors.JaxRuntimeError as error:
    report = str(error)
  assert RACE in report
