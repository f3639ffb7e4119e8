"""Devices to compile for, simulated ones, and a real one if there is one."""

import jax
import pytest
from jax.experimental.pallas import mosaic_gpu as plgpu

from tests.kernels import aot


@pytest.fixture(scope="session", params=aot.TPU_TARGETS)
def tpu_device(request):
  """One device of each TPU generation."""
  return aot.tpu_devices(request.param)[0]


@pytest.fixture(scope="session")
def hopper_device():
  """One H200."""
  return aot.hopper_devices()[0]


@pytest.fixture
def simulator():
  """Parameters of a simulator that starts, and leaves nothing, afresh."""
  # Neither has a public name.
  from jax._src.pallas.mosaic_gpu.interpret import gpu_callbacks

  gpu_callbacks.reset_gpu_interpret_mode_state()
  yield plgpu.InterpretGPUParams(detect_races=True, uninitialized_memory="nan")
  gpu_callbacks.reset_gpu_interpret_mode_state()


@pytest.fixture
def on_hopper():
  """Runs the test on a Hopper GPU of this machine; skips without one."""
  try:
    devices = jax.devices("cuda")
  except RuntimeError:  # What jax raises for a platform that is not there.
    devices = []
  found = [x for x in devices if x.compute_capability.startswith("9.")]
  if not found:
    pytest.skip("needs a Hopper GPU and JAX_PLATFORMS=cuda,cpu")
  with jax.default_device(found[0]):
    yield
