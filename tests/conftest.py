"""Settings every test shares: CPU with eight virtual devices."""

import os

import pytest

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get(
  "XLA_FLAGS", ""
):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
  )


@pytest.fixture(scope="session")
def nano_checkpoint(tmp_path_factory):
  """Directory of a bundle of nano networks with random weights."""
  from tests import nano_bundle

  return nano_bundle.make(tmp_path_factory.mktemp("nano"))
