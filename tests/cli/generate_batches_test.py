"""`more4d generate` of several pictures: what is finished stays."""

import collections
import json

import numpy as np
import PIL.Image
import pytest

from more4d_jax import generation, pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.checkpoints import residency
from more4d_jax.cli import main, scene_files

pytestmark = pytest.mark.slow


@pytest.fixture
def album(tmp_path):
  folder = tmp_path / "album"
  folder.mkdir()
  for i, name in enumerate("abc"):
    pixels = np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
  return folder


def _generate(checkpoint, image, out, *more):
  return main.main(
    [
      "generate", "--image", str(image), "--checkpoint", str(checkpoint),
      "--prompt", "left", "--out", str(out), "--camera", "static", "forward",
      "--steps", "1", "--scene-size", "model", *more,
    ]
  )  # fmt: skip


def _overview(out):
  return json.loads((out / "summary.json").read_text())


def _scenes(out):
  return {p.parent.name: p.read_bytes() for p in out.glob("*/scene.npz")}


def test_a_broken_picture_is_reported_and_the_others_are_made(
  nano_checkpoint, album, tmp_path, capsys
):
  out = tmp_path / "out"
  good = (album / "b.png").read_bytes()
  (album / "b.png").write_text("no picture")
  assert _generate(nano_checkpoint, album, out) == 3
  printed = capsys.readouterr()
  line = printed.err.strip().splitlines()[-1]
  assert line.startswith("error: 1 of 3 scenes failed: b (") and "b.png" in line
  assert _overview(out)["scenes"] == ["a", "c"]
  assert "b.png" in _overview(out)["failed"]["b"]
  assert set(_scenes(out)) == {"a", "c"}
  # Once it is mended, the same command makes it and nothing else.
  (album / "b.png").write_bytes(good)
  before = _scenes(out)
  assert _generate(nano_checkpoint, album, out) == 0
  assert capsys.readouterr().out.count("is there already") == 2
  assert _overview(out)["scenes"] == ["a", "b", "c"]
  assert not _overview(out)["failed"]
  assert {k: v for k, v in _scenes(out).items() if k != "b"} == before
  # So does a scene that has lost a file, which is the same again.
  (out / "c" / "static.mp4").unlink()
  assert _generate(nano_checkpoint, album, out) == 0
  printed = capsys.readouterr().out
  assert printed.count(": is there already") == 2
  assert "c: the scene is there already" in printed
  assert (out / "c" / "static.mp4").is_file() and _scenes(out)["c"] == before[
    "c"
  ]
  # Other settings are other scenes.
  assert _generate(nano_checkpoint, album, out, "--seed", "1") == 0
  assert "is there already" not in capsys.readouterr().out
  assert _scenes(out)["a"] != before["a"]


def test_a_stopped_command_goes_on_to_the_same_scenes(
  nano_checkpoint, album, tmp_path, monkeypatch, capsys
):
  assert _generate(nano_checkpoint, album, tmp_path / "whole") == 0
  write, calls = scene_files.write_scene, []

  def stopped(*args):
    calls.append(None)
    if len(calls) == 2:
      raise KeyboardInterrupt
    write(*args)

  out = tmp_path / "out"
  with monkeypatch.context() as patch:
    patch.setattr(scene_files, "write_scene", stopped)
    assert _generate(nano_checkpoint, album, out) == 130
  assert set(_scenes(out)) == {"a"}
  assert not list(out.glob("*.partial")) and not _overview(out)["scenes"]
  capsys.readouterr()
  assert _generate(nano_checkpoint, album, out) == 0
  assert "a: the scene is there already" in capsys.readouterr().out
  assert _overview(out)["scenes"] == ["a", "b", "c"]
  assert (out / "a" / "static.mp4").is_file()
  assert _scenes(out) == _scenes(tmp_path / "whole")


_PARTS = {
  "depth": {"network"},
  "video_vae": {"encoder", "decoder"},
  "motion_vae": {"decoder"},
  "strag": {"text_encoder", "image_encoder", "motion_encoder", "transformer"},
  "vism": {"text_encoder", "image_encoder", "transformer"},
}


def test_weights_are_read_once_for_a_stage_and_batch(
  nano_checkpoint, album, tmp_path, monkeypatch
):
  """Also if each picture goes through the networks alone."""
  reads, params = collections.Counter(), residency.Residency.params

  def counted(self, kind, parts=None, place=None):
    reads.update((kind, part) for part in parts)
    return params(self, kind, parts, place)

  monkeypatch.setattr(residency.Residency, "params", counted)
  monkeypatch.setattr(generation, "_SMALL_BATCH", 1)  # Of films.
  out, more = tmp_path / "out", ("--holes", "vism", "--batch", "2")
  assert _generate(nano_checkpoint, album, out, *more) == 0
  batches = 2  # Of three pictures.
  # Both samplers of these films read the encoder of the video autoencoder.
  twice = ("video_vae", "encoder")
  assert reads == {
    (kind, part): batches * (2 if (kind, part) == twice else 1)
    for kind, parts in _PARTS.items()
    for part in parts
    # The words of all pictures are the same.
    if part != "text_encoder"
  } | {("strag", "text_encoder"): 1, ("vism", "text_encoder"): 1}
  assert _overview(out)["scenes"] == ["a", "b", "c"]


def test_a_film_that_fails_takes_no_other_with_it(
  nano_checkpoint, album, tmp_path, monkeypatch, capsys
):
  """Not even if all fail together, as where memory is short."""
  made = []

  def fake(self, requests, batch, keep):
    del self, batch, keep
    if len(requests) > 1:
      raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
    made.append(None)
    number = len(made)
    yield FloatingPointError("dark") if number == 1 else requests[0].rendering

  out, more = tmp_path / "out", ("--holes", "vism")
  with monkeypatch.context() as patch:
    patch.setattr(pipeline.Pipeline, "films", fake)
    assert _generate(nano_checkpoint, album, out, *more) == 3
  printed = capsys.readouterr()
  assert "6 together failed (the device has too little" in printed.out
  assert "1 of 3 scenes failed: a (static: dark)" in printed.err
  assert _overview(out)["scenes"] == ["b", "c"] and len(made) == 6
  summary = json.loads((out / "a" / "summary.json").read_text())
  assert summary["failed"] == {"static": "dark"}
  assert set(summary["filled"]) == {"forward"}
  before = _scenes(out)
  films = {p: p.stat().st_mtime_ns for p in out.glob("*/*.mp4")}
  assert len(films) == 10
  # The same command makes that film and nothing else.
  assert _generate(nano_checkpoint, album, out, *more) == 0
  assert _scenes(out) == before and not _overview(out)["failed"]
  now = {p: p.stat().st_mtime_ns for p in out.glob("*/*.mp4")}
  assert films.items() < now.items() and len(now) == 12


def test_a_film_that_fails_leaves_the_scene(
  nano_checkpoint, album, tmp_path, monkeypatch, capsys
):
  def out_of_memory(*_, **__):
    raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

  out = tmp_path / "out"
  picture = album / "a.png"
  with monkeypatch.context() as patch:
    patch.setattr(pipeline.Pipeline, "films", out_of_memory)
    status = _generate(nano_checkpoint, picture, out, "--holes", "vism")
  assert status == 3
  assert "2 of 2 films failed" in capsys.readouterr().err
  assert (out / "scene.npz").is_file() and (out / "scene.html").is_file()
  assert set(_overview(out)["failed"]) == {"static", "forward"}
  assert not list(out.glob("*.mp4"))


def test_samples_of_a_picture(nano_checkpoint, album, tmp_path, capsys):
  """The first is the scene of the seed; the others can be had by theirs."""
  picture, out = album / "a.png", tmp_path / "out"
  assert _generate(nano_checkpoint, picture, tmp_path / "one") == 0
  assert _generate(nano_checkpoint, picture, out, "--samples", "2") == 0
  found, seeds = _scenes(out), _overview(out)["seeds"]
  assert list(seeds) == _overview(out)["scenes"] == sorted(found)
  first, second = (found[f"a_sample_{number}"] for number in range(2))
  assert first == (tmp_path / "one" / "scene.npz").read_bytes() != second
  again = str(seeds["a_sample_1"])
  more = ("--seed", again)
  assert _generate(nano_checkpoint, picture, tmp_path / "two", *more) == 0
  assert second == (tmp_path / "two" / "scene.npz").read_bytes()
  # A third one leaves those that are there.
  capsys.readouterr()
  assert _generate(nano_checkpoint, picture, out, "--samples", "3") == 0
  assert capsys.readouterr().out.count("is there already") == 2
  assert len(_overview(out)["scenes"]) == 3


def test_negative_prompts_are_recorded_and_change_the_scene(
  nano_checkpoint, album, tmp_path, capsys
):
  manifest = album / "list.jsonl"
  lines = [
    {"image": "a.png"},
    {"image": "b.png", "prompt": "", "negative_prompt": "fast"},
  ]
  manifest.write_text("\n".join(map(json.dumps, lines)))
  out = tmp_path / "out"
  more = ("--negative-prompt", "slow")
  assert _generate(nano_checkpoint, manifest, out, *more) == 0
  for name, words in (("a", ("left", "slow")), ("b", ("", "fast"))):
    summary = json.loads((out / name / "summary.json").read_text())
    assert (summary["prompt"], summary["negative_prompt"]) == words
  before, out = _scenes(out), tmp_path / "out"
  # What is said by the lines stays; what they leave out is another scene.
  assert _generate(nano_checkpoint, manifest, out) == 0
  assert capsys.readouterr().out.count("is there already") == 1
  after = _scenes(out)
  assert after["b"] == before["b"] and after["a"] != before["a"]
  scene = scene_lib.Scene.load(out / "b" / "scene.npz")
  assert scene.metadata["prompt"] == ""
  assert scene.metadata["negative_prompt"] == "fast"


def test_words_that_change_nothing_are_named(
  nano_checkpoint, album, tmp_path, capsys
):
  picture, films = album / "a.png", ("--holes", "background")
  more = ("--negative-prompt", "slow", "--guidance", "1", *films)
  assert _generate(nano_checkpoint, picture, tmp_path / "a", *more) == 0
  assert "--negative-prompt is not used" in capsys.readouterr().out
  more = ("--prompt", "", *films)
  assert _generate(nano_checkpoint, picture, tmp_path / "b", *more) == 0
  printed = capsys.readouterr().out
  assert "'no caption'" in printed and "--guidance 1" in printed


def test_no_picture_at_all_is_a_mistake(
  nano_checkpoint, album, tmp_path, capsys
):
  for file in album.iterdir():
    file.write_text("no picture")
  assert _generate(nano_checkpoint, album, tmp_path / "out") == 2
  assert "none of 3 pictures can be used" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()
