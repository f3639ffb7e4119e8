"""Stages of generation as they are planned.

In processes of their own: where tests check annotations, shapes must not
stand for arrays.
"""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.models import abstract, quantised, variants, vism
from tests import quick_compilation

ROOT = pathlib.Path(__file__).parents[1]
pytestmark = pytest.mark.slow  # Traces every stage.


_NANO = ("--size", "nano")


def _plan(*arguments, devices="cpu-1", networks=_NANO):
  command = [sys.executable, "-m", "more4d_jax.cli.main", "plan"]
  return subprocess.run(
    [*command, *networks, "--devices", devices, *arguments],
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


def test_stages_are_those_of_the_samplers():
  done = _plan("--stage", "none such")
  assert done.returncode == 2
  assert done.stderr.strip() == (
    "error: no stage is called 'none such': there are DepthNetwork metric "
    "depth, STraG text context, STraG features, VideoVAE latents, STraG step, "
    "MotionVAE decoded, renderings, ViSM text context, ViSM image context, "
    "VideoVAE latents, ViSM step, VideoVAE decoded"
  )


@pytest.mark.parametrize("stored", [False, True])
def test_a_step_takes_the_memory_of_its_state_over(
  stored, nano_checkpoint, tmp_path
):
  out = tmp_path / "plan.json"
  words = ("--stage", "ViSM step", "--dtype", "float32", "--out", str(out))
  checkpoint = ("--checkpoint", str(nano_checkpoint))
  done = _plan(*words, networks=checkpoint if stored else _NANO)
  assert done.returncode == 0, done.stderr
  (found,) = json.loads(out.read_text())["plans"]
  variant = variants.get("nano")
  shapes = abstract.boxed_shapes("vism", vism.ViSM(variant.vism))
  leaves = jax.tree.leaves(partitioning.unbox(shapes["dit"]))
  held = 4 * sum(np.prod(leaf.shape) for leaf in leaves)
  assert found["held"]["parameters"] == held
  latents = 4 * 16 * np.prod(variant.latent_grid)
  # Of the results only whether the layers ran is new.
  assert found["results"] < latents
  assert found["operations"] > 0 and not found["traffic"]


def test_layers_in_the_hosts_memory_are_counted_apart(tmp_path):
  out = tmp_path / "plan.json"
  done = _plan(
    *("--stage", "ViSM step", "--dtype", "int8", "--mesh", "tensor=2"),
    *("--offload", "--out", str(out)),
    devices="cpu-2",
  )
  assert done.returncode == 0, done.stderr
  (found,) = json.loads(out.read_text())["plans"]
  assert found["program"] == (
    "nano int8: ViSM step, mesh data 1 x fsdp 1 x context 1 x tensor 2, "
    "layers in the host's memory"
  )
  mesh = jax.sharding.AbstractMesh((1, 1, 1, 2), partitioning.MESH_AXES)
  module = vism.ViSM(variants.get("nano").vism)
  dit = abstract.boxed_shapes("vism", module)["dit"]
  dit = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), dit)
  blocks = quantised.shapes({"blocks": dit["blocks"]})
  rest = {name: tree for name, tree in dit.items() if name != "blocks"}
  size = partitioning.bytes_per_device
  assert found["waiting"] == size(mesh, blocks)
  assert found["held"]["parameters"] == size(mesh, rest)
  assert found["traffic"]


def test_a_mesh_that_the_devices_do_not_have():
  done = _plan("--stage", "ViSM step", "--mesh", "fsdp=2")
  assert done.returncode == 2
  assert "expected a mesh of at most 1 devices" in done.stderr
