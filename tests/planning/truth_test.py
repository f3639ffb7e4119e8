"""A plan against the process that runs the program."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests import quick_compilation

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.long  # Compiles and runs steps at size small; reads memory.
@pytest.mark.parametrize("config", ["depth", "vism"])
def test_planned_bytes_are_those_of_the_run(config):
  if not pathlib.Path("/proc/self/clear_refs").exists():
    pytest.skip("resident memory is read from Linux's /proc")
  done = subprocess.run(
    [
      sys.executable,
      "benchmarks/plan_truth.py",
      f"--config=configs/{config}.py:size=small",
    ],
    capture_output=True,
    text=True,
    check=False,
    cwd=ROOT,
    env={
      **os.environ,
      "PYTHONPATH": str(ROOT),
      "XLA_FLAGS": quick_compilation.flags(),
    },
  )
  assert done.returncode == 0, done.stderr[-2000:]
  found = json.loads(done.stdout)
  # Code, constants and the allocator's own come on top of what is planned.
  assert found["measured"] == pytest.approx(found["planned"], rel=0.15)
