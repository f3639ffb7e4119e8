"""The benchmark's lines, and its cases."""

import json

import numpy as np

from more4d_jax.kernels.norm_rotary import benchmark, cases


def test_one_json_line_per_pass_and_reasons_where_it_cannot_run(capsys):
  benchmark.main(
    [
      *("--cases", "1p3b/9568/tensor4", "--reduced"),
      *("--implementations", "plain,mosaic_tpu", "--repetitions", "1"),
    ]
  )
  lines = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  ran, refused = lines[:2], lines[2:]
  assert [line["pass"] for line in ran] == ["forward", "forward and backward"]
  for line, moved in zip(ran, (2, 5)):
    # Two heads of 128 in two bytes.
    tensor = line["tokens"] * 2 * 128 * 2
    counted = line["gb_a_second"] * 1e6 * line["milliseconds"]
    assert abs(counted / (moved * tensor) - 1) < 1e-2
  assert len(refused) == 2
  assert all("takes TPUs, not cpu" in line["error"] for line in refused)


def test_cases_are_the_models_heads_and_tokens():
  whole = cases.CASES["14b/10304/whole"]
  assert (whole.tokens, whole.heads, whole.width) == (10_304, 40, 128)
  assert cases.CASES["1p3b/9568/tensor4"].heads == 3
  assert "1p3b/9568/tensor8" not in cases.CASES
  small = whole.reduced()
  assert (small.tokens, small.heads) == (256 + 10_304 % 128, 2)
  _, _, angles, d_out = cases.inputs(small, "bfloat16")
  cos, sin = np.split(np.asarray(angles), 2, axis=-1)
  np.testing.assert_allclose(cos**2 + sin**2, 1, atol=1e-5)
  assert d_out.shape == (1, small.tokens, 2, 128)
