"""Settings every test shares: CPU with eight virtual devices."""

import collections
import os
import pathlib
import subprocess
import sys

import pytest

from tests import quick_compilation

_EIGHT = "--xla_force_host_platform_device_count=8"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", f"{quick_compilation.flags()} {_EIGHT}")
os.environ["MORE4D_CACHE"] = "off"  # See `quick_compilation`.


def pytest_terminal_summary(terminalreporter):
  """A line for each reason why tests were skipped."""
  skipped = terminalreporter.stats.get("skipped", [])
  reasons = collections.Counter(
    report.longrepr[2].removeprefix("Skipped: ").splitlines()[0]
    for report in skipped
  )
  for reason, count in reasons.most_common():
    terminalreporter.write_line(f"skipped {count}: {reason}")


@pytest.fixture(scope="session")
def nano_checkpoint(tmp_path_factory: pytest.TempPathFactory):
  """Directory of a bundle of nano networks with random weights."""
  from tests import nano_bundle

  return nano_bundle.make(tmp_path_factory.mktemp("nano"))


@pytest.fixture(scope="session")
def nano_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A finished recipe "nano": what `make train-demo` leaves, in small."""
  out = tmp_path_factory.mktemp("recipe") / "nano"
  command = [sys.executable, "-m", "more4d_jax.cli.main", "train-all"]
  done = subprocess.run(
    [*command, "--recipe", "nano", "--out", str(out)],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "XLA_FLAGS": quick_compilation.flags()},
  )
  assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
  return out
