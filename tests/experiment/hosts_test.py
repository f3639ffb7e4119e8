"""Joining the processes of a run: what is refused, and how."""

import subprocess
import sys

import pytest

from more4d_jax import errors
from more4d_jax.experiment import hosts
from tests import host_runs


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (("10.0.0.1:12", None, 2), "together, found 10.0.0.1:12, None and 2"),
    ((None, 0, 2), "together"),
    (("10.0.0.1", 0, 2), "expected HOST:PORT"),
    (("10.0.0.1:12", 2, 2), "--process is 2: expected 0 to 1"),
    (("10.0.0.1:12", -1, 2), "--process is -1"),
  ],
)
def test_arguments_that_do_not_fit_together_are_refused(given, message):
  with pytest.raises(errors.UserError, match=message):
    hosts.join(*given)


def test_an_unreachable_coordinator_is_one_line():
  address = f"127.0.0.1:{host_runs.free_port()}"
  with pytest.raises(errors.UserError, match=f"no coordinator .* {address}"):
    hosts.join(address, 1, 2, patience=0.5)


def test_a_machine_by_itself_starts_nothing():
  code = (
    "from more4d_jax.experiment import hosts; import jax; hosts.join();"
    "hosts.join(processes=1); print(jax.distributed.is_initialized())"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    check=True,
    cwd=host_runs.ROOT,
  )
  assert done.stdout.strip() == "False"
