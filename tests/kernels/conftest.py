"""Devices that no one has, for tests that compile for them."""

import pytest

from tests.kernels import aot


@pytest.fixture(scope="session", params=aot.TPU_TARGETS)
def tpu_device(request):
  """One device of each TPU generation."""
  return aot.tpu_devices(request.param)[0]


@pytest.fixture(scope="session")
def hopper_device():
  """One H200."""
  return aot.hopper_devices()[0]
