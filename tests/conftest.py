"""Settings every test shares: CPU with eight virtual devices.

Programs are compiled with few optimisations: at size nano compiling is what
takes the time.
"""

import os
import pathlib
import subprocess
import sys

import pytest

_QUICK = "--xla_backend_optimization_level=0"
_EIGHT = "--xla_force_host_platform_device_count=8"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", f"{_QUICK} {_EIGHT}")


@pytest.fixture(scope="session")
def nano_checkpoint(tmp_path_factory: pytest.TempPathFactory):
  """Directory of a bundle of nano networks with random weights."""
  from tests import nano_bundle

  return nano_bundle.make(tmp_path_factory.mktemp("nano"))


@pytest.fixture(scope="session")
def nano_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A finished recipe "nano": what `make demo` leaves, in small."""
  out = tmp_path_factory.mktemp("recipe") / "nano"
  command = [sys.executable, "-m", "more4d_jax.cli.main", "train-all"]
  done = subprocess.run(
    [*command, "--recipe", "nano", "--out", str(out)],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "XLA_FLAGS": _QUICK},
  )
  assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
  return out
