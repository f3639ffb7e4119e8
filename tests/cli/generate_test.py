"""`more4d generate` on a nano checkpoint, and every kind of bad input."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from safetensors import numpy as safetensors_numpy

from more4d_jax import scene as scene_lib
from more4d_jax.checkpoints import store
from more4d_jax.cli import failures, main
from more4d_jax.lora import dialects
from more4d_jax.viewing import video
from tests.lora import requests_test as lora_requests_test


@pytest.fixture
def photo(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
  path = tmp_path / "photo.png"
  PIL.Image.fromarray(pixels).save(path)
  return path


def _generate(checkpoint, out, image, *more):
  return main.main(
    [
      "generate", "--image", str(image), "--checkpoint", str(checkpoint),
      "--out", str(out), *map(str, more),
    ]
  )  # fmt: skip


@pytest.mark.slow
def test_one_picture_end_to_end(nano_checkpoint, photo, tmp_path, capsys):
  out = tmp_path / "deep" / "out"
  depth = np.full((60, 80), 2.0, np.float32)
  depth[0, :4] = np.nan
  np.save(tmp_path / "depth.npy", depth)
  dit = store.load_network(nano_checkpoint / "vism").params["dit"]
  made = lora_requests_test.random_lora(dit)
  dialects.save(tmp_path / "l.safetensors", made, "comfyui")
  status = _generate(
    nano_checkpoint, out, photo,
    "--prompt", "a ball rolls to the left", "--camera", "static,x_moving",
    "--depth", tmp_path / "depth.npy", "--seed", 3, "--scene-size", "model",
    "--lora", f"{tmp_path}/l.safetensors:0.1",
  )  # fmt: skip
  printed = capsys.readouterr()
  assert status == 0, printed.err
  assert "4 invalid depth values" in printed.out
  assert {path.name for path in out.iterdir()} == {
    "scene.npz", "scene.html", "summary.json", "static.mp4", "x_moving.mp4",
    "static_points.mp4", "x_moving_points.mp4",
  }  # fmt: skip
  summary = json.loads((out / "summary.json").read_text())
  assert summary["finite"] and summary["reprojection_error"] < 1e-3
  assert 0 <= summary["moving_share"] <= 1 and summary["seed"] == 3
  assert summary["median_depth"] == 2 and summary["invalid_depth_values"] == 4
  assert summary["loras"]["vism"][0]["modules"] == len(made.modules)
  scene = scene_lib.Scene.load(out / "scene.npz")
  assert scene.tracks.shape == (5, 32, 48, 3)
  frames, _ = video.read_video(out / "x_moving.mp4")
  assert frames.shape == (5, 256, 384, 3)  # Enlarged eight times.
  # The first frame of the static camera is the picture itself.
  frames, _ = video.read_video(out / "static_points.mp4")
  small = frames[0].reshape(32, 8, 48, 8, 3).mean((1, 3))
  assert np.abs(small - scene.colours).mean() < 12  # Lossy chroma of noise.
  assert not list(out.parent.glob("*.partial"))


@pytest.mark.slow
def test_a_manifest_of_two(nano_checkpoint, photo, tmp_path):
  rgba = PIL.Image.open(photo).convert("RGBA")
  rgba.putalpha(128)
  rgba.save(tmp_path / "clear.png")
  PIL.Image.open(photo).convert("L").save(tmp_path / "grey.png")
  manifest = tmp_path / "list.jsonl"
  manifest.write_text(
    '{"image": "clear.png", "prompt": "a"}\n'
    '{"image": "grey.png", "prompt": "b"}\n'
  )
  out = tmp_path / "out"
  more = (
    "--camera", "static", "--steps", 7, "--sampler", "unipc", "--shift", 3,
    "--schedule", "compat", "--cfg-skip", 0.5, "--teacache", 99,
    "--riflex", 2, "--scene-size", "64x96", "--fps", 16,
    "--smoothing", 3, "--keep-rendered", "False",
  )  # fmt: skip
  assert _generate(nano_checkpoint, out, manifest, *more) == 0
  more += ("--holes", "background")
  assert _generate(nano_checkpoint, out, manifest, *more) == 0  # Replaces.
  for name in ("clear", "grey"):
    assert (out / name / "static.mp4").is_file()
  scene = scene_lib.Scene.load(out / "grey" / "scene.npz")
  assert (scene.colours[..., 0] == scene.colours[..., 2]).all()
  assert scene.metadata["prompt"] == "b"
  summary = json.loads((out / "grey" / "summary.json").read_text())
  assert summary["size"] == [64, 96] and summary["fps"] == 16
  share = summary["coverage"]["static"]
  shares = {"rendered": share, "background": 1 - share}
  assert summary["filled"] == {"static": shares}
  assert summary["frames"] == 9 and summary["model_grid"]["frames"] == 5
  assert scene.tracks.shape == (9, 64, 96, 3)
  frames, fps = video.read_video(out / "grey" / "static.mp4")
  assert len(frames) == 9 and fps == 16
  sampler = summary["sampler"]
  assert (sampler["num_steps"], sampler["shift"]) == (7, 3)
  assert (sampler["sampler"], sampler["schedule"]) == ("unipc", "compat")
  assert (sampler["cfg_skip"], sampler["riflex"]) == (0.5, 2)
  assert (sampler["smoothing"], sampler["keep_rendered"]) == (3, False)
  # TeaCache runs the layers in its first five steps, then hardly ever.
  assert summary["computed_steps"] == [0, 1, 2, 3, 4]
  assert json.loads((out / "summary.json").read_text())["scenes"] == [
    "clear", "grey",
  ]  # fmt: skip


def _two_poses(tmp_path):
  poses = np.stack([np.eye(4)] * 2)
  np.savez(tmp_path / "two.npz", world_from_camera=poses, convention="opencv")
  return ("--camera", str(tmp_path / "two.npz"))


def _bad_depth(tmp_path, values):
  np.save(tmp_path / "bad.npy", values)
  return ("--depth", str(tmp_path / "bad.npy"))


def _small(tmp_path):
  PIL.Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
  return tmp_path / "one.png"


def _lora(tmp_path, width):
  """A file whose only module has another width than the network."""
  path = tmp_path / "lora.safetensors"
  name = "lora_unet__blocks_0_ffn_2"
  tensors = {
    f"{name}.lora_down.weight": np.zeros((2, width), np.float32),
    f"{name}.lora_up.weight": np.zeros((width, 2), np.float32),
  }
  safetensors_numpy.save_file(tensors, path)
  return "--lora", f"{path}:0.5"


def _text(tmp_path):
  (tmp_path / "text.png").write_text("no picture")
  return tmp_path / "text.png"


_BAD = {
  "missing file": (lambda t: (t / "none.png", ()), "no such file"),
  "not an image": (lambda t: (_text(t), ()), "cannot read"),
  "one pixel": (lambda t: (_small(t), ()), "1 x 1"),
  "camera": (lambda t: (None, ("--camera", "sideways")), "sideways"),
  "no camera": (lambda t: (None, ("--camera", ",")), "found none"),
  "same camera": (lambda t: (None, ("--camera", "static,static")), "twice"),
  "no depth file": (lambda t: (None, ("--depth", str(t / "d"))), "--depth"),
  "depth of another shape": (
    lambda t: (None, _bad_depth(t, np.ones((60, 60)))), "aspect"
  ),
  "depth all NaN": (
    lambda t: (None, _bad_depth(t, np.full((60, 80), np.nan))), "found none"
  ),
  "camera of two frames": (lambda t: (None, _two_poses(t)), "expected 5"),
  "seed": (lambda t: (None, ("--seed", str(2**63))), "expected a seed"),
  "samples": (lambda t: (None, ("--samples", "0")), "--samples of 1 to 1000"),
  "frames": (lambda t: (None, ("--frames", "8")), "nearest is 5 or 9"),
  "seed in words": (lambda t: (None, ("--seed", "x")), "--seed"),
  "fit": (lambda t: (None, ("--fit", "stretch")), "letterbox"),
  "holes": (lambda t: (None, ("--holes", "none")), "background"),
  "dtype": (lambda t: (None, ("--dtype", "float8")), "bfloat16"),
  "rate that is no number": (lambda t: (None, ("--fps", "nan")), "--fps"),
  "fov that is no number": (lambda t: (None, ("--fov", "nan")), "--fov"),
  "depth unit": (
    lambda t: (
      None,
      (*_bad_depth(t, np.ones((60, 80))), "--depth-unit", "furlong"),
    ),
    "m, cm, mm, or metres per",
  ),
  "a folder of depth for a picture": (
    lambda t: (None, ("--depth", str(t))), "--depth"
  ),
  "negative seed": (lambda t: (None, ("--seed", "-1")), "expected a seed"),
  "out in a file": (
    lambda t: (None, ("--out", str(t / "photo.png" / "out"))), "cannot use"
  ),
  "steps": (lambda t: (None, ("--steps", "0")), "--steps"),
  "guidance": (lambda t: (None, ("--guidance", "-1")), "--guidance"),
  "sampler": (lambda t: (None, ("--sampler", "heun")), "heun"),
  "shift": (lambda t: (None, ("--shift", "0")), "--shift of 0.01 to 100"),
  "cfg_skip": (lambda t: (None, ("--cfg-skip", "2")), "--cfg-skip of 0 to 1"),
  "teacache": (lambda t: (None, ("--teacache", "nan")), "--teacache"),
  "smoothing": (lambda t: (None, ("--smoothing", "-1")), "--smoothing of 0"),
  "riflex": (lambda t: (None, ("--riflex", "99")), "riflex of 0 to 4"),
  "no LoRA": (lambda t: (None, ("--lora", str(t / "l"))), "found no"),
  "LoRA of another network": (
    lambda t: (None, _lora(t, 7)), "1 of its 1 modules do not fit"
  ),
  "scene size": (lambda t: (None, ("--scene-size", "big")), "picture"),
  "aspect": (lambda t: (None, ("--scene-size", "90x90")), "give 90x135"),
  "rate": (lambda t: (None, ("--fps", "0")), "--fps"),
  "fov": (lambda t: (None, ("--fov", "200")), "--fov"),
  "checkpoint": (
    lambda t: (None, ("--checkpoint", str(t / "none"))), "more4d bundle"
  ),
}  # fmt: skip


@pytest.mark.parametrize("case", _BAD)
def test_bad_input(case, nano_checkpoint, photo, tmp_path, capsys):
  make, words = _BAD[case]
  image, more = make(tmp_path)
  before = sorted(tmp_path.iterdir())
  status = _generate(
    nano_checkpoint, tmp_path / "out", image or photo, "--prompt", "p", *more
  )
  err = capsys.readouterr().err
  assert status == 2
  assert err.startswith("error: ") and err.count("\n") == 1
  assert words in err
  assert sorted(tmp_path.iterdir()) == before


def _from_behind(tmp_path):
  """A camera that has turned its back to the scene."""
  pose = np.diag([-1.0, 1.0, -1.0, 1.0])
  np.savez(tmp_path / "p.npz", world_from_camera=pose, convention="opencv")
  return "--camera", str(tmp_path / "p.npz")


def test_a_camera_that_sees_nothing_is_found_before_sampling(
  nano_checkpoint, photo, tmp_path, capsys, monkeypatch
):
  sampled = []
  monkeypatch.setattr(
    "more4d_jax.pipeline.Pipeline.scenes", lambda *a: sampled.append(a)
  )
  np.save(tmp_path / "d.npy", np.full((60, 80), 2.0))
  more = ("--prompt", "p", "--depth", tmp_path / "d.npy")
  more = (*more, *_from_behind(tmp_path))
  assert _generate(nano_checkpoint, tmp_path / "out", photo, *more) == 2
  err = capsys.readouterr().err
  assert "100 % of its points lie behind the camera" in err and not sampled
  assert err.count("\n") == 1


@pytest.mark.slow
def test_a_letterboxed_portrait_comes_back_whole(
  nano_checkpoint, tmp_path, capsys
):
  pixels = np.random.default_rng(0).integers(0, 256, (120, 40, 3), np.uint8)
  PIL.Image.fromarray(pixels).save(tmp_path / "p.png")
  more = ("--prompt", "p", "--camera", "x_moving", "--steps", 1)
  out = tmp_path / "crop"
  assert _generate(nano_checkpoint, out, tmp_path / "p.png", *more) == 0
  assert "78 % of the picture is cut off" in capsys.readouterr().out
  more = (*more, "--fit", "letterbox", "--seed", 2**63 - 1)
  out = tmp_path / "whole"
  assert _generate(nano_checkpoint, out, tmp_path / "p.png", *more) == 0
  assert "cut off" not in capsys.readouterr().out
  scene = scene_lib.Scene.load(out / "scene.npz")
  np.testing.assert_array_equal(scene.colours, pixels)
  assert scene.intrinsics[2] == pytest.approx(20, abs=0.5)  # Whole columns.
  frames, _ = video.read_video(out / "x_moving.mp4")
  assert frames.shape[1] / frames.shape[2] == pytest.approx(3, rel=0.01)


def test_other_files_are_not_replaced(nano_checkpoint, photo, tmp_path, capsys):
  status = _generate(nano_checkpoint, tmp_path, photo, "--prompt", "p")
  assert status == 2 and "other files" in capsys.readouterr().err
  assert photo.is_file()


def test_no_prompt(nano_checkpoint, photo, tmp_path, capsys):
  assert _generate(nano_checkpoint, tmp_path / "out", photo) == 2
  err = capsys.readouterr().err
  assert "--prompt" in err and err.count("\n") == 1


def test_one_scene_does_not_replace_several_nor_they_it(
  nano_checkpoint, photo, tmp_path, capsys
):
  """What stands in a folder's summary says which of them it holds."""
  for summary, more, words in (
    ({"scenes": ["a"], "failed": {}}, (), "several scenes"),
    ({"image": "photo.png"}, ("--samples", 2), "a single scene"),
  ):
    out = tmp_path / words.replace(" ", "_")
    out.mkdir()
    (out / "summary.json").write_text(json.dumps(summary))
    words_too = ("--prompt", "p", *more)
    assert _generate(nano_checkpoint, out, photo, *words_too) == 2
    err = capsys.readouterr().err
    assert words in err and "another --out" in err and err.count("\n") == 1
    assert json.loads((out / "summary.json").read_text()) == summary


_FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nLargest: 7"


@pytest.mark.parametrize(
  ("error", "words"),
  [
    (FloatingPointError("diverged"), "error: diverged"),
    (
      jax.errors.JaxRuntimeError(_FULL),
      "error: the device has too little memory (RESOURCE_EXHAUSTED: Out of "
      "memory allocating 8 bytes.): use those of --guidance-halves sequence, ",
    ),
    (
      MemoryError("Unable to allocate 8 PiB"),
      "error: the machine has too little memory (Unable to allocate 8 PiB): ",
    ),
  ],
)
def test_a_failure_leaves_nothing(
  error, words, nano_checkpoint, photo, tmp_path, monkeypatch, capsys
):
  def broken(*_, **__):
    raise error

  monkeypatch.setattr("more4d_jax.pipeline.Pipeline.scenes", broken)
  before = sorted(tmp_path.iterdir())
  out = tmp_path / "out"
  assert _generate(nano_checkpoint, out, photo, "--prompt", "p") == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith(words)
  assert sorted(tmp_path.iterdir()) == before


def test_memory_that_is_not_there_is_told_from_other_errors():
  for ask in (lambda: jnp.zeros(1 << 50), lambda: np.ones(1 << 50)):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
      ask()
    assert failures.is_out_of_memory(caught.value)
  assert not failures.is_out_of_memory(RuntimeError("INTERNAL: out of order"))
