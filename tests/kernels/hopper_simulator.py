"""What tests of the Hopper kernels need to run in Mosaic GPU's simulator."""

import pytest
from jax.experimental.pallas import mosaic_gpu as plgpu

simulated = pytest.mark.skipif(
  not hasattr(plgpu, "InterpretGPUParams"),
  reason="the simulator of Hopper GPUs comes with jax 0.11",
)
RACE = "RACE DETECTED"
