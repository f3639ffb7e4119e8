"""The benchmark's lines."""

import json

import pytest

from more4d_jax.kernels import timing
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
  # The mesh in force names the device, by which "auto" and tiles are chosen.
  assert all("takes TPUs, not cpu" in line["error"] for line in refused)


def test_no_memory_is_a_line_too(monkeypatch, capsys):
  def no_memory(*_):
    raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

  monkeypatch.setattr(timing, "seconds", no_memory)
  benchmark.main(
    [
      *("--cases", "1p3b/image/9568/context8", "--reduced"),
      *("--implementations", "plain"),
    ]
  )
  lines = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  assert all("out of memory" in line["error"] for line in lines)
  assert len(lines) == 2


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--cases", "2b/*"], "--cases matches none of 1p3b/self/10304/whole, "),
    (["--implementations", "auto,flash"], "unknown flash"),
    (["--repetitions", "0"], "1 or more"),
    (["--dtype", "float13"], "invalid choice: 'float13'"),
  ],
)
def test_mistakes_in_the_arguments_are_told(arguments, message, capsys):
  with pytest.raises(SystemExit) as caught:
    benchmark.main(arguments)
  assert caught.value.code == 2
  assert message in capsys.readouterr().err
