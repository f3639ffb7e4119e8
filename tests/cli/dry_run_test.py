"""`more4d generate --dry-run`: reads everything but weights, writes nothing."""

import json

import numpy as np
import PIL.Image
import pytest

from more4d_jax import pipeline
from more4d_jax.cli import dry_run, main
from more4d_jax.name_maps import matching


@pytest.fixture
def album(tmp_path):
  folder = tmp_path / "album"
  folder.mkdir()
  for i, name in enumerate("ab"):
    pixels = np.random.default_rng(i).integers(0, 256, (48, 72, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
    np.save(tmp_path / f"{name}.npy", np.full((48, 72), 2.0, np.float32))
  return folder


def _plan(checkpoint, image, out, *more):
  return main.main(
    [
      "generate", "--dry-run", "--image", str(image), "--checkpoint",
      str(checkpoint), "--prompt", "left", "--out", str(out),
      "--camera", "static", *map(str, more),
    ]
  )  # fmt: skip


def _files(folder):
  return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_the_plan(nano_checkpoint, album, tmp_path, capsys):
  before = _files(tmp_path)
  more = ("--samples", 2, "--seed", 5, "--fps", 16, "--holes", "vism")
  assert _plan(nano_checkpoint, album, tmp_path / "out", *more) == 0
  printed = capsys.readouterr().out
  for name in ("a_sample_0", "a_sample_1", "b_sample_0", "b_sample_1"):
    assert f"{name}: 9 frames of up to 48 x 72, 'left', seed " in printed
  assert "seed 5, depth estimated" in printed
  for words in ("static.mp4, static_points.mp4", "views", "depth"):
    assert words in printed
  # Four scenes of nine frames: float16 tracks, visibility, and colours.
  assert 4 * 48 * 72 * (9 * 7 + 3) == 912_384 and "most 912 kB" in printed
  assert _files(tmp_path) == before


def test_every_weight_of_the_transformers_is_told_of(nano_checkpoint):
  loaded = pipeline.load(nano_checkpoint)
  found = dry_run.stages([], "vism")
  assert "depth" not in [kind for _, kind, _ in found]
  for kind in ("strag", "vism"):
    told = sum(
      sum(dry_run.weights(loaded, kind, parts).values())
      for _, of, parts in found
      if of == kind
    )
    params = matching.flatten(loaded.networks.network(kind).params)
    assert told == sum(leaf.nbytes for leaf in params.values()) > 0


def test_what_is_there_already_is_told(
  nano_checkpoint, album, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(
    "more4d_jax.cli.scene_files.is_finished",
    lambda loaded, job, settings, folder: folder.name == "a",
  )
  assert _plan(nano_checkpoint, album, tmp_path / "out") == 0
  printed = capsys.readouterr().out
  assert "a: is there already" in printed
  assert "b: 5 frames of up to 48 x 72" in printed


def test_mistakes_end_as_those_of_the_command(
  nano_checkpoint, album, tmp_path, capsys
):
  out = tmp_path / "out"
  (album / "b.png").write_text("no picture")
  before = _files(tmp_path)
  assert _plan(nano_checkpoint, album, out) == 3
  err = capsys.readouterr().err
  assert "1 of 2 scenes cannot be made: b (" in err and err.count("\n") == 1
  assert _plan(nano_checkpoint, album / "b.png", out) == 2
  assert _plan(tmp_path / "none", album, out) == 2
  assert _plan(nano_checkpoint, album, out, "--frames", "7") == 2
  assert _files(tmp_path) == before


def test_a_camera_that_sees_nothing_is_found(
  nano_checkpoint, album, tmp_path, capsys
):
  pose = np.diag([-1.0, 1.0, -1.0, 1.0])
  np.savez(tmp_path / "p.npz", world_from_camera=pose, convention="opencv")
  more = ("--camera", tmp_path / "p.npz")
  picture, depth = album / "a.png", ("--depth", tmp_path / "a.npy")
  out = tmp_path / "out"
  assert _plan(nano_checkpoint, picture, out, *more, *depth) == 2
  assert "lie behind the camera" in capsys.readouterr().err
  # Of several pictures the others can be made.
  manifest = tmp_path / "list.jsonl"
  lines = [{"image": "album/a.png", "depth": "a.npy"}, {"image": "album/b.png"}]
  manifest.write_text("\n".join(map(json.dumps, lines)))
  assert _plan(nano_checkpoint, manifest, out, *more) == 3
  assert "1 of 2 scenes cannot be made: a (" in capsys.readouterr().err
