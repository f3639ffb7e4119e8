"""Stages of generation as they are planned."""

import jax
import pytest

from more4d_jax import generation_plan

pytestmark = pytest.mark.slow  # Traces every stage.


@pytest.fixture(scope="module")
def stages():
  found = generation_plan.traced("nano", jax.devices(), "float32")
  return [(program.name, program) for program in found]


def test_stages_are_those_of_the_samplers(stages):
  assert [name for name, _ in stages] == [
    "STraG text context",
    "ViSM text context",
    "STraG features",
    "VideoVAE latents",
    "STraG step",
    "MotionVAE decoded",
    "ViSM image context",
    "VideoVAE latents",
    "ViSM step",
    "VideoVAE decoded",
  ]
