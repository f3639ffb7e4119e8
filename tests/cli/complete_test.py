"""`more4d complete` on a nano checkpoint."""

import json

import numpy as np
import pytest

from more4d_jax import generation, pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.checkpoints import bundling
from more4d_jax.cli import main
from more4d_jax.viewing import video


def _scene(size, frames=5):
  height, width = size
  rows, columns = np.mgrid[:height, :width] + 0.5
  depth = np.where(columns < width / 2, 1.0, 3.0)
  x = (columns - width / 2) / width * depth
  y = (rows - height / 2) / width * depth
  tracks = np.repeat(np.stack([x, y, depth], -1)[None], frames, axis=0)
  colours = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
  lens = np.array([width, width, width / 2, height / 2], np.float32)
  return scene_lib.Scene(
    tracks.astype(np.float32),
    np.ones(tracks.shape[:3], bool),
    colours,
    lens,
    8.0,
    {"prompt": "a wall stands"},
  )


@pytest.fixture
def scene_file(tmp_path):
  _scene((32, 48)).save(tmp_path / "s.npz")
  return tmp_path / "s.npz"


def _complete(scene, checkpoint, out, *more):
  return main.main(
    [
      "complete", "--scene", str(scene), "--checkpoint", str(checkpoint),
      "--out", str(out), "--steps", "1", *map(str, more),
    ]
  )  # fmt: skip


def _read(out):
  return json.loads((out / "summary.json").read_text())


@pytest.mark.slow
def test_films_go_together_and_stay(
  nano_checkpoint, scene_file, tmp_path, monkeypatch, capsys
):
  sizes = []
  whole = generation.Generator.videos

  def counted(self, renderings, keep):
    sizes.append([len(batch.videos) for batch in renderings])
    return whole(self, renderings, keep)

  monkeypatch.setattr(generation.Generator, "videos", counted)
  out = tmp_path / "out"
  three = ("--camera", "static", "forward", "left", "--together", 2)
  assert _complete(scene_file, nano_checkpoint, out, *three) == 0
  assert sizes == [[2, 2]]  # One row of stages, one shape.
  found = _read(out)
  names = {"static", "forward", "left"}
  assert set(found["filled"]) == set(found["coverage"]) == names
  # A film of the network's own size is the network's alone.
  assert found["filled"]["left"] == {"rendered": 0.0, "vism": 1.0}
  assert found["scene"] == str(scene_file) and not found["failed"]
  before = {p.name: p.read_bytes() for p in out.glob("*.mp4")}
  assert len(before) == 6
  # Only what is missing is made, and it does not depend on its batch.
  (out / "left.mp4").unlink()
  assert _complete(scene_file, nano_checkpoint, out, *three) == 0
  assert capsys.readouterr().out.count("is there already") == 2
  assert sizes == [[2, 2], [1]]
  again = video.read_video(out / "left.mp4")[0].astype(int)
  (out / "left.mp4").write_bytes(before["left.mp4"])
  first = video.read_video(out / "left.mp4")[0]
  assert np.abs(again - first).mean() < 1
  # Another path comes to the others.
  assert _complete(scene_file, nano_checkpoint, out, "--camera", "up") == 0
  assert set(_read(out)["filled"]) == names | {"up"}


@pytest.mark.slow
def test_view_completion_alone_is_enough(nano_checkpoint, scene_file, tmp_path):
  """Its films are those that a checkpoint of all networks makes."""
  alone, films = tmp_path / "alone", []
  needed = [nano_checkpoint.parent / kind for kind in ("video_vae", "vism")]
  bundling.bundle(needed, alone)
  for checkpoint in (nano_checkpoint, alone):
    out = tmp_path / f"of_{checkpoint.name}"
    assert _complete(scene_file, checkpoint, out, "--camera", "left") == 0
    films.append((out / "left.mp4").read_bytes())
  assert films[0] == films[1]


@pytest.mark.slow
def test_a_larger_scene_keeps_what_is_rendered(nano_checkpoint, tmp_path):
  _scene((40, 56), frames=3).save(tmp_path / "s.npz")
  out = tmp_path / "out"
  more = ("--camera", "left", "--time", "reverse")
  assert _complete(tmp_path / "s.npz", nano_checkpoint, out, *more) == 0
  found = _read(out)
  share = found["coverage"]["left"]
  assert 0.5 < share < 1
  assert found["filled"]["left"] == {"rendered": share, "vism": 1 - share}


def test_a_film_that_fails_is_made_by_the_next_call(
  nano_checkpoint, scene_file, tmp_path, monkeypatch, capsys
):
  full = True

  def fake(self, requests, batch, keep):
    del self, batch, keep
    for request in requests:
      if full:
        raise RuntimeError("RESOURCE_EXHAUSTED:\nout of memory")
      yield request.rendering

  monkeypatch.setattr(pipeline.Pipeline, "films", fake)
  out, two = tmp_path / "out", ("--camera", "static", "left")
  assert _complete(scene_file, nano_checkpoint, out, *two) == 3
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert "2 of 2 films failed: static (the device has too little" in line
  assert set(_read(out)["failed"]) == {"static", "left"}
  assert not _read(out)["filled"] and not list(out.glob("*.mp4"))
  full = False
  assert _complete(scene_file, nano_checkpoint, out, *two) == 0
  assert set(_read(out)["filled"]) == {"static", "left"}
  assert not _read(out)["failed"]


_BAD = {
  "scene": ({"--scene": "none.npz"}, "no such scene file"),
  "camera": ({"--camera": "spiral"}, "choose one of static"),
  "together": ({"--together": "0"}, "--together of 1 to 64"),
  "reach": ({"--reach": "9"}, "--reach of 0 to 2"),
  "seed": ({"--seed": "-1"}, "expected a seed"),
  "out": ({"--out": "."}, "name another --out"),
  "checkpoint": ({"--checkpoint": "none"}, "more4d bundle"),
}


@pytest.mark.parametrize("case", _BAD)
def test_mistakes_are_one_line_and_leave_nothing(
  case, nano_checkpoint, scene_file, tmp_path, monkeypatch, capsys
):
  changes, words = _BAD[case]
  monkeypatch.chdir(tmp_path)
  options = {
    "--scene": str(scene_file),
    "--checkpoint": str(nano_checkpoint),
    "--out": "out",
    "--camera": "static",
  } | changes
  before = sorted(tmp_path.iterdir())
  flags = [word for pair in options.items() for word in pair]
  assert main.main(["complete", *flags]) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith("error: ") and words in line
  assert sorted(tmp_path.iterdir()) == before
