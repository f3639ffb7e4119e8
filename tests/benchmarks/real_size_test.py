"""The benchmark at real size runs at the size of the tests."""

import pytest

from benchmarks import real_size


@pytest.mark.slow
@pytest.mark.parametrize("part", real_size.PARTS)
def test_every_part_runs(part):
  line = real_size.run(part, "nano")
  assert line["part"] == part and line["clip"] == "5x32x48"
  assert line["finite"] and line["peak_gib"] > 0
  if part == "layers":
    # The same float32 sums, which the compiler may order otherwise.
    assert line["relative_error"] < 1e-5
  if part == "decode":
    assert line["frames"] == 5
  if part == "step":
    assert line["velocity_rms"] > 0
