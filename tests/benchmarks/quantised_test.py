"""Bytes in int8, from shapes alone, against a count written out by hand."""

import jax
import pytest

from benchmarks import quantised


def test_bytes_of_14b_are_those_of_its_matrices():
  found = quantised.calls("14b", "auto")
  width, ffn, motion, layers = 5120, 13824, 768, 40
  # Self-attention, cross-attention with text and picture, feed-forward.
  layer = (4 + 6) * width**2 + 2 * width * ffn
  strag = layers * (layer + 2 * motion * 2 * width)  # Two MAdaNorms.
  text = 24 * (4 * 4096**2 + 3 * 4096 * 10240)
  for part, count in (
    ("strag 14b", strag),
    ("vism 14b", layers * layer),
    ("umT5", text),
  ):
    eight, half = (
      quantised.weights(found[part], dtype) for dtype in ("int8", "bfloat16")
    )
    assert eight["int8_gigabytes"] == round(count / 1e9, 2)
    assert half["int8_gigabytes"] == 0
    # One byte of each is saved; scales are far below a hundredth of them.
    saved = half["gigabytes"] - eight["gigabytes"]
    assert saved == pytest.approx(count / 1e9, rel=0.01)


@pytest.mark.slow
def test_a_call_is_compiled_from_shapes():
  call = quantised.calls("nano", "auto")["vism nano"]
  lines = [
    quantised.peak(call, dtype, 2, jax.devices()[0])
    for dtype in ("bfloat16", "int8")
  ]
  assert [line["dtype"] for line in lines] == ["bfloat16", "int8"]
  assert all("error" not in line and line["batch"] == 2 for line in lines)
