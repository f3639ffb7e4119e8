"""Commands that devices have no memory for, refused before weights are read."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from more4d_jax import generation_memory, generation_programs, pipeline
from more4d_jax.checkpoints import residency
from more4d_jax.cli import main
from tests import quick_compilation

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def generate(nano_checkpoint, tmp_path, monkeypatch):
  """Runs the command, which must end before a weight is read."""

  def unread(*args):
    raise AssertionError("weights were read")

  def compiled(generator, stage, work):
    halves = 1 + (generator.options.halves == "batch")
    size = _weights(generator.networks)  # Other types and meshes have less.
    if stage.kind == "renderer":
      size = size if work.rendering[1:] == (32, 48) else 2 * size
    elif generator.networks.size("strag")[0] > 5:
      size *= 2
    return generation_memory.Need(stage, 0, halves * 1000 * size)

  monkeypatch.setattr(residency.Residency, "params", unread)
  monkeypatch.setattr(generation_memory, "compiled", compiled)
  monkeypatch.setattr(generation_memory, "_SURE", 0)
  picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  PIL.Image.fromarray(picture).save(tmp_path / "p.png")

  def run(free, *more, size="model", holes="vism"):
    monkeypatch.setattr(generation_memory, "available", lambda mesh: free)
    command = [
      "generate", "--image", str(tmp_path / "p.png"), "--prompt", "left",
      "--checkpoint", str(nano_checkpoint), "--out", str(tmp_path / "out"),
      "--camera", "static", "--holes", holes, "--scene-size", size, *more,
    ]  # fmt: skip
    status = main.main(command)
    assert not (tmp_path / "out").exists()
    return status

  return run


@pytest.fixture(scope="module")
def weights(nano_checkpoint):
  """Bytes of a transformer in float32 and in int8."""
  found = [
    _weights(pipeline.load(nano_checkpoint, dtype=dtype).networks)
    for dtype in ("float32", "int8")
  ]
  assert found[1] < 0.45 * found[0]
  return found


def _weights(networks):
  return networks.weight_bytes("strag", ["transformer"])


_SEQUENCE = ("--guidance-halves", "sequence")
_ALONE = ("--mesh", "data=1")  # Else other devices are advised.


def test_the_first_flags_that_would_do_are_named(generate, weights, capsys):
  whole, small = weights
  for free, more, advice in (
    (1500 * whole, _ALONE, "with --guidance-halves sequence it fits"),
    (999 * whole, _SEQUENCE, "with --mesh auto it fits"),
    (999 * whole, _ALONE, "with --dtype int8 it fits"),
    (1500 * small, _ALONE, "with --dtype int8 --guidance-halves sequence it"),
    (1000, _ALONE, "take devices with more memory"),
  ):
    assert generate(free, *more) == 2, advice
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert advice in line and "GiB on each device" in line


def test_flags_that_are_set_are_not_advised(generate, weights, capsys):
  whole, small = weights
  more = (*_ALONE, *_SEQUENCE, "--dtype", "int8")
  assert generate(999 * small, *more) == 2
  assert "take devices with more memory" in capsys.readouterr().err
  for free in (2000 * whole, None):  # It fits; nobody knows.
    with pytest.raises(AssertionError, match="weights were read"):
      generate(free, *_ALONE)


def test_smaller_scenes_and_fewer_frames_are_advised(generate, weights, capsys):
  """Last, for what is made is another thing then."""
  _, small = weights
  more = (*_ALONE, *_SEQUENCE, "--dtype", "int8")
  for given, size, stage, advice in (
    ((), "64x96", "renderings (renderer)", "--scene-size model"),
    (("--frames", "9"), "model", "depth (depth)", "--frames 5"),
  ):
    assert generate(1500 * small, *more, *given, size=size) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {stage} would take "), line
    assert line.endswith(f"with {advice} it fits"), line


def test_what_is_asked_follows_from_pictures_and_flags(generate, monkeypatch):
  found = []

  def check(generator, work, remedies):
    found.append(work)
    raise AssertionError("weights were read")

  monkeypatch.setattr(generation_memory, "check", check)
  for holes, *more in (("vism",), ("background", "--fps", "16")):
    with pytest.raises(AssertionError, match="weights were read"):
      generate(0, *more, size="64x96", holes=holes)
  whole = generation_programs.Work((32, 48), 1, (5, 64, 96), 1)
  filled = generation_programs.Work((32, 48), 1, (9, 64, 96), 0)
  assert found == [whole, filled]


_COMPILE = """
import sys
from more4d_jax import generation_memory as memory, pipeline
from more4d_jax import generation_programs as programs
found = {}
for halves in ("batch", "sequence"):
  options = pipeline.generation.Options(halves=halves)
  generator = pipeline.load(sys.argv[1], options=options).generator
  work = programs.Work((64, 80), 2, (5, 64, 96), 2)
  for stage, alone in memory.parts(work):
    if halves == "batch" or stage.what == "views":
      bound = memory.bounded(generator, stage, alone)
      exact = memory.compiled(generator, stage, alone)
      few = exact.weights - bound.weights  # Statistics of latents.
      assert 0 <= few < 1000, stage
      assert 0 <= exact.others <= bound.others, (stage, exact, bound)
      found[stage, halves] = exact.others
steps = memory.sample_vism.STEPS
assert found[steps, "sequence"] < found[steps, "batch"], found
assert len(found) == 13, found
"""


@pytest.mark.slow
def test_what_compilers_say_is_within_the_bound(nano_checkpoint):
  """In a process whose annotations are not checked; see generation_plan."""
  done = subprocess.run(
    [sys.executable, "-c", _COMPILE, str(nano_checkpoint)],
    capture_output=True,
    text=True,
    check=False,
    cwd=_ROOT,
    env={
      **os.environ,
      "PYTHONPATH": str(_ROOT),
      "XLA_FLAGS": quick_compilation.flags(),
    },
  )
  assert done.returncode == 0, done.stderr[-3000:]


def test_the_memory_of_this_machine_is_found():
  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  assert 0 < generation_memory.machine_memory() <= total
