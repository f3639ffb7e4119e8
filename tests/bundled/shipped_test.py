"""The checkpoint that is taken where none is named, with nano networks."""

import json
import pathlib

import numpy as np
import PIL.Image
import pytest

import more4d_jax
from benchmarks import depth_order
from more4d_jax import errors
from more4d_jax.bundled import shipped
from more4d_jax.checkpoints import bundling
from more4d_jax.cli import main


@pytest.fixture
def ships_nano(nano_checkpoint, tmp_path, monkeypatch):
  """A package that ships nano networks, whose figures it knows."""
  place = tmp_path / "ships"
  about = {"figures": {"motion64v3": {"relative": 0.625}}}
  bundling.bundle([nano_checkpoint], place, about=about)
  monkeypatch.setattr(shipped, "DIRECTORY", place)


@pytest.fixture
def ships_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(shipped, "DIRECTORY", tmp_path / "nowhere")


def _picture(folder):
  path = folder / "picture.png"
  pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
  PIL.Image.fromarray(pixels).save(path)
  return path


def _generate(folder, *more):
  return main.main(
    [
      "generate", "--image", str(_picture(folder)), "--prompt", "a ball rolls",
      "--scene-size", "model", "--out", str(folder / "out"), *more,
    ]
  )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("ships_nano")
def test_generate_takes_what_ships_and_says_so(tmp_path, capsys):
  assert _generate(tmp_path, "--camera", "static") == 0
  printed = capsys.readouterr().out
  (line,) = [x for x in printed.splitlines() if "no --checkpoint" in x]
  assert "size nano (5 frames of 32 x 48)" in line
  assert "0.62 times that of a still scene" in line
  summary = json.loads((tmp_path / "out" / "summary.json").read_text())
  assert shipped.NAME in json.dumps(summary)


def test_a_named_checkpoint_is_taken_in_silence(
  nano_checkpoint, tmp_path, capsys
):
  more = ("--checkpoint", str(nano_checkpoint), "--dry-run")
  assert _generate(tmp_path, *more) == 0
  assert "no --checkpoint" not in capsys.readouterr().out


@pytest.mark.usefixtures("ships_nano")
def test_python_takes_what_ships():
  assert more4d_jax.load().networks.name == shipped.NAME


@pytest.mark.usefixtures("ships_nothing")
def test_a_package_without_one_says_what_to_do(tmp_path, capsys):
  with pytest.raises(errors.UserError, match="ships without one"):
    more4d_jax.load()
  assert _generate(tmp_path) == 2
  assert "name a directory made by `more4d bundle`" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()
  assert shipped.find("somewhere") == pathlib.Path("somewhere")


def test_what_ships_is_whole_and_small():
  if not shipped.exists():
    pytest.skip("no checkpoint ships with this copy")
  files = [p for p in shipped.DIRECTORY.rglob("*") if p.is_file()]
  assert sum(p.stat().st_size for p in files) <= shipped.LIMIT
  pipe = more4d_jax.load()
  for kind in ("video_vae", "motion_vae", "strag", "depth"):
    assert pipe.networks.has(kind)
  assert "times that of a still scene" in shipped.describe()


@pytest.mark.slow
def test_what_ships_tells_near_from_far_in_photographs():
  if not shipped.exists():
    pytest.skip("no checkpoint ships with this copy")
  pipe = more4d_jax.load()
  shares = [
    depth_order.agreement(
      depth_order.estimated(pipe, depth_order.photograph(name)), pairs
    )
    for name, pairs in depth_order.marked().items()
  ]
  assert np.mean(shares) >= 0.8
