"""Stages of generation as they are planned."""

import jax
import numpy as np
import pytest

from more4d_jax import generation_plan, registry
from more4d_jax.models import variants
from more4d_jax.planning import programs

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


def test_a_stage_holds_the_parts_that_it_borrows(stages, nano_checkpoint):
  from more4d_jax.checkpoints import store

  bundle = store.load_bundle(nano_checkpoint)
  whole = {
    kind: sum(
      np.prod(leaf.shape) for leaf in jax.tree.leaves(bundle[kind].params)
    )
    for kind in registry.SAMPLED
  }
  held = {
    name: programs.held_bytes(program.held["parameters"]) / 4
    for name, program in stages
  }
  assert held["ViSM step"] + held["ViSM text context"] == whole["vism"]
  parts = ("STraG step", "STraG text context", "STraG features")
  assert sum(held[name] for name in parts) == whole["strag"]


def test_a_step_takes_the_memory_of_its_state_over(stages):
  program = dict(stages)["ViSM step"]
  figures = programs.compile_program(program)
  grid = variants.get("nano").latent_grid
  latents = 4 * 16 * np.prod(grid)
  # Of the results only whether the layers ran is new.
  assert figures.results < latents
  assert figures.operations > 0 and not figures.traffic
