"""The benchmark at real size runs at the size of the tests."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_every_part_runs():
  # In processes of their own, as people run it; each prints a line.
  done = subprocess.run(
    [sys.executable, "-m", "benchmarks.real_size", "--reduced"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  lines = [json.loads(line) for line in done.stdout.splitlines()]
  step, layers, decode = lines
  for line, part in zip(lines, ("step", "layers", "decode"), strict=True):
    assert line["part"] == part and line["clip"] == "5x32x48"
    assert line["finite"] and line["peak_gib"] > 0
  assert step["velocity_rms"] > 0
  # The same float32 sums, which the compiler may order otherwise.
  assert layers["relative_error"] < 1e-5
  assert decode["frames"] == 5
