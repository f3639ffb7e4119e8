"""The joining of examples, networks and metrics, with made-up networks."""

import contextlib
import types

import numpy as np
import pytest

from more4d_jax import evaluate_bundle, pipeline
from more4d_jax.geometry import motion
from more4d_jax.sampling import sample_strag, sample_vism


def _example(side, height=16, width=24):
  rng = np.random.default_rng(side + 5)
  tracks = np.zeros((5, height, width, 3), np.float32)
  tracks[..., 2] = 2 + rng.random((height, width))
  segmentation = np.zeros((height, width), np.uint8)
  segmentation[4:12, 4:20] = 1
  time = np.arange(5, dtype=np.float32)[:, None, None]
  tracks[..., 0] += side * 0.1 * time * (segmentation > 0)
  word = "right" if side > 0 else "left"
  return {
    "tracks": tracks,
    "visible": np.ones(tracks.shape[:3], bool),
    "segmentation": segmentation,
    "intrinsics": np.array([20, 20, 12, 8], np.float32),
    "image": rng.integers(0, 256, (height, width, 3), np.uint8),
    "depth": tracks[0, ..., 2],
    "caption": f"a ball rolls to the {word}",
  }


class _Generator:
  """Moves everything to the side its prompt names, at a given speed."""

  def __init__(self, speed):
    self._speed = speed
    self.keys = []

  def tracks(self, pictures):
    for batch in pictures:
      self.keys.append(list(batch.noise_keys))
      found = np.zeros((len(batch.prompts), 5, 16, 24, 3), np.float32)
      found[..., 2] = batch.depths[:, None]
      time = np.arange(5, dtype=np.float32)[:, None, None]
      for tracks, prompt in zip(found, batch.prompts):
        side = 1 if "right" in prompt else -1
        tracks[..., 0] += side * self._speed * time
      yield sample_strag.Tracks(found, np.ones(1, bool))

  def depth(self, images):
    return np.full(images.shape[:3], 2.5, np.float32)

  def videos(self, renderings):
    for batch in renderings:
      count = len(batch.videos)
      yield sample_vism.Videos(
        np.full_like(batch.videos, 100), np.ones(count, bool)
      )


class _Pipe(pipeline.Pipeline):
  """Has only what evaluation asks for."""

  size = (5, 16, 24)

  def __init__(self, speed):
    super().__init__({})
    self.networks = types.SimpleNamespace(
      normalisation=motion.MotionNormalisation()
    )
    self.generator = _Generator(speed)


def test_tracks_at_half_the_speed():
  examples = [_example(1), _example(-1), _example(1)]
  pipe = _Pipe(0.05)
  seen = []
  found = evaluate_bundle.evaluate_tracks(
    pipe,
    examples,
    evaluate_bundle.Options(batch=2),
    oracles=[e["tracks"] for e in examples],
    look=lambda number, example, tracks: seen.append(number),
  )
  assert found["relative"] == pytest.approx(0.5, rel=1e-4)
  assert found["follows_caption"] == 1
  assert found["oracle_relative"] == 0
  assert found["scenes"] == 3 and seen == [0, 1, 2]
  keys = [[(0, 0), (0, 1)], [(0, 2), (0, 2)]]
  assert pipe.generator.keys == 2 * keys  # Captions as they are, then swapped.


def test_a_network_that_ignores_the_caption():
  pipe = _Pipe(0.05)
  same = np.stack([_example(1)["tracks"]] * 16)
  pipe.generator.tracks = lambda pictures: [
    sample_strag.Tracks(same, np.ones(1, bool)) for _ in pictures
  ]
  found = evaluate_bundle.evaluate_tracks(
    pipe, [_example(1), _example(-1)], evaluate_bundle.Options()
  )
  assert found["right_sign"] == 0.5 and found["follows_caption"] == 0


def test_hidden_and_unknown_pixels_do_not_count():
  example = _example(1)
  example["visible"][0, 4] = False
  example["tracks"][3, 5, 6] = np.nan
  mask = evaluate_bundle.object_mask(example)
  assert mask.sum() == 8 * 16 - 16 - 1


def test_depth():
  pipe = _Pipe(0.0)
  examples = [_example(1), _example(-1), _example(2)]
  found = evaluate_bundle.evaluate_depth(pipe, examples, batch=2)
  true = np.stack([e["depth"] for e in examples])
  expected = (np.abs(2.5 - true) / true).mean()
  assert found["absolute_relative"] == pytest.approx(expected, rel=1e-5)


def test_motion_vae_against_the_linear_code(monkeypatch):
  examples = [_example(1), _example(-1)]
  training = [_example(side) for side in (1, -1, 2, -2, 3)]
  pipe = _Pipe(0.0)
  pipe.networks.lend = contextlib.nullcontext
  monkeypatch.setattr(
    evaluate_bundle, "_reconstruct", lambda model, moved: 0.9 * moved
  )
  found = evaluate_bundle.evaluate_motion_vae(pipe, examples, training)
  assert found["relative"] == pytest.approx(0.1, rel=1e-4)
  # Five clips of two patterns per block: the code is nearly exact.
  assert found["linear_relative"] < 0.1
  assert found["over_linear"] > 1
  assert found["block_linear_relative"] < 0.1
  assert found["over_block_linear"] > 1
