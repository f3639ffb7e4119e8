"""The TPU kernel without a TPU: its numbers and its protocol, interpreted."""

import hypothesis
import pytest
from hypothesis import strategies as st
from jax.experimental.pallas import tpu as pltpu

from more4d_jax.kernels.norm_rotary import mosaic_tpu
from tests.kernels.norm_rotary import comparison


@pytest.fixture
def small_turns(monkeypatch):
  """Few rows in a turn of the kernels' loops, which else turn once here."""
  monkeypatch.setattr(mosaic_tpu, "_FORWARD_VALUES", 1 << 14)
  monkeypatch.setattr(mosaic_tpu, "_BACKWARD_VALUES", 1 << 13)


@pytest.mark.slow
@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@hypothesis.given(st.data())
def test_random_shapes(data):
  draw = data.draw
  shape = (
    draw(st.integers(1, 2)),
    draw(st.integers(1, 300)),
    draw(st.integers(1, 3)),
    draw(st.sampled_from((64, 128))),
  )
  comparison.check(
    mosaic_tpu,
    shape,
    draw(st.sampled_from(("float32", "bfloat16"))),
    given=draw(st.booleans()),
    interpret=True,
  )


@pytest.mark.parametrize("rows", [127, 128, 129, 600])
def test_rows_around_tiles(small_turns, rows):
  shape, given = (1, rows, 2, 128), rows % 2 == 0
  comparison.check(mosaic_tpu, shape, "bfloat16", given=given, interpret=True)


@pytest.mark.parametrize("given", [False, True])
def test_protocol_has_no_race_and_reads_nothing_uninitialised(
  small_turns, given
):
  # The flag has no public name.
  from jax._src.pallas.mosaic.interpret import interpret_pallas_call

  interpret = pltpu.InterpretParams(
    detect_races=True, uninitialized_memory="nan"
  )
  try:
    for width in (64, 128):
      shape = (2, 150, 2, width)
      comparison.check(
        mosaic_tpu, shape, "float32", given=given, interpret=interpret
      )
    assert not interpret_pallas_call.races.races_found
  finally:
    pltpu.reset_tpu_interpret_mode_state()
