"""`more4d generate --frames`: clips of other lengths than in training."""

import json

import numpy as np
import PIL.Image
import pytest

from more4d_jax import pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.cli import main
from more4d_jax.viewing import video

_TRAINED = 5


@pytest.fixture
def photo(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
  PIL.Image.fromarray(pixels).save(tmp_path / "photo.png")
  np.save(tmp_path / "d.npy", np.full((60, 80), 2.0, np.float32))
  return tmp_path / "photo.png"


def _generate(checkpoint, photo, out, *more):
  return main.main(
    [
      "generate", "--image", str(photo), "--checkpoint", str(checkpoint),
      "--prompt", "left", "--out", str(out), "--steps", "1", "--depth",
      str(photo.parent / "d.npy"), "--scene-size", "model",
      *map(str, more),
    ]
  )  # fmt: skip


def _poses(tmp_path, count):
  poses = np.stack([np.eye(4)] * count)
  np.savez(tmp_path / "p.npz", world_from_camera=poses, convention="opencv")
  return tmp_path / "p.npz"


@pytest.mark.slow
def test_a_longer_clip(nano_checkpoint, photo, tmp_path, capsys):
  out = tmp_path / "out"
  camera = _poses(tmp_path, 9)
  more = ("--frames", 9, "--camera", camera, "--holes", "vism")
  assert _generate(nano_checkpoint, photo, out, *more) == 0
  printed = capsys.readouterr().out
  assert "9 frames, but the networks were trained on 5: beyond" in printed
  assert "RIFLEx" in printed
  scene = scene_lib.Scene.load(out / "scene.npz")
  assert scene.num_frames == 9 and scene.metadata["trained_frames"] == _TRAINED
  assert scene.metadata["sampler"]["riflex"] > 0
  np.testing.assert_allclose(scene.tracks[0, ..., 2], 2, rtol=1e-3)
  frames, fps = video.read_video(out / "p.mp4")
  assert len(frames) == 9 and fps == scene.fps
  summary = json.loads((out / "summary.json").read_text())
  assert summary["frames"] == 9 and summary["trained_frames"] == _TRAINED
  assert summary["model_grid"]["frames"] == 9


def test_a_camera_file_has_as_many_poses_as_the_longer_clip(
  nano_checkpoint, photo, tmp_path, capsys
):
  more = ("--frames", 9, "--camera", _poses(tmp_path, _TRAINED))
  assert _generate(nano_checkpoint, photo, tmp_path / "out", *more) == 2
  err = capsys.readouterr().err
  assert "expected 9" in err and err.count("\n") == 1


def test_a_count_that_cannot_be_is_refused_before_anything_is_read(
  photo, tmp_path, capsys
):
  more = ("--frames", 8)
  assert _generate(tmp_path / "none", photo, tmp_path / "out", *more) == 2
  err = capsys.readouterr().err
  assert "--frames of 4 k + 1" in err and "5 or 9" in err
  assert err.count("\n") == 1


def test_which_frequency_is_slowed_down(nano_checkpoint):
  """Only beyond training, and only unless the user says which."""
  for frames, overrides, riflex in (
    (None, {}, 0),
    (_TRAINED, {}, 0),
    (9, {}, 1),
    (9, {"riflex": 0}, 0),
    (9, {"riflex": 2}, 2),
  ):
    found = pipeline.load(nano_checkpoint, overrides, frames=frames)
    assert found.size[0] == (frames or _TRAINED)
    for kind in ("strag", "vism"):
      assert found.networks.sampler(kind).riflex == riflex
