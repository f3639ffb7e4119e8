"""The benchmark's lines."""

import json

from more4d_jax.kernels.attention import benchmark


def test_peak_of_the_longest_name():
  assert benchmark.peak("TPU v5 lite") == 197
  assert benchmark.peak("TPU v5p") == 459
  assert benchmark.peak("cpu") is None


def test_one_json_line_per_pass_and_reasons_where_it_cannot_run(capsys):
  benchmark.main(
    [
      *("--cases", "1p3b/image/9568/context8", "--reduced"),
      *("--implementations", "auto,mosaic_tpu", "--repetitions", "1"),
    ]
  )
  lines = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  ran, refused = lines[:2], lines[2:]
  assert [line["pass"] for line in ran] == ["forward", "forward and backward"]
  for line in ran:
    flops = line["tflops"] * 1e9 * line["milliseconds"]
    products = 2 if line["pass"] == "forward" else 7
    counted = 2 * products * line["queries"] * line["keys"] * 128
    assert abs(flops / counted - 1) < 1e-3  # Both are rounded to four digits.
  assert len(refused) == 2
  assert all("interpret mode" in line["error"] for line in refused)
