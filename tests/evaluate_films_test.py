"""Films of completed renderings, with made-up networks of known figures."""

import types

import numpy as np
import pytest

from more4d_jax import evaluate_bundle, evaluate_films
from more4d_jax.evaluation import seen_points
from more4d_jax.sampling import sample_vism
from tests import evaluate_chain_test

_SIZE = (5, 16, 24)


class _Pipe(evaluate_chain_test.Pipe):
  """Fills holes with one grey, and keeps the rest."""

  def __init__(self, scale, grey):
    super().__init__(scale, 1.0)
    choices = types.SimpleNamespace(holes="black")
    self.networks.choices = lambda kind: choices
    self.grey, self.keys = grey, []

  def videos(self, renderings):
    for batch in renderings:
      self.keys += batch.noise_keys
      films = np.where(
        batch.coverage[..., None], batch.videos, np.uint8(self.grey)
      )
      yield sample_vism.Videos(films, np.ones(len(films), bool))


def test_holes_of_true_renderings():
  coverage = np.ones(_SIZE, bool)
  coverage[:, :, 10:14] = False
  film = evaluate_films.Film(
    rendering=np.where(coverage[..., None], 200, 0).astype(np.uint8)
    * np.ones(3, np.uint8),
    coverage=coverage,
    true=np.full((*_SIZE, 3), 110, np.uint8),
    image=np.zeros((*_SIZE[1:], 3), np.uint8),
    caption="",
  )
  found = evaluate_films.evaluate_vism(
    _Pipe(1.0, 100), [film], evaluate_bundle.Options(batch=2)
  )
  assert found["hole_psnr"] == pytest.approx(20 * np.log10(255 / 10))
  assert found["nearest_hole_psnr"] == pytest.approx(20 * np.log10(255 / 90))
  assert found["hole_share"] == pytest.approx(4 / 24)
  assert np.isnan(found["lpips"])


def _shot(right):
  """A block of 80 before a wall of 160, filmed from both sides of the way."""
  example = evaluate_chain_test.example(right)
  block = example["segmentation"] > 0
  example["image"][:] = np.where(block, 80, 160)[..., None]
  poses = [np.repeat(np.eye(4, dtype=np.float32)[None], 5, 0) for _ in "ab"]
  for pose, sign in zip(poses, (1, -1)):
    pose[:, 0, 3] = sign * np.linspace(0, 0.4, 5)
  films = [np.full((*_SIZE, 3), 110, np.uint8)] * 2
  return evaluate_films.Shot(example, poses, films)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_films_of_a_scene_of_any_scale(scale):
  """The wall is 50 too bright, the block 30 too dark, holes 10."""
  pipe = _Pipe(scale, 100)
  shots = [_shot(1), _shot(-1), _shot(1)]
  found = evaluate_films.evaluate_films(
    pipe, iter(shots), evaluate_bundle.Options(batch=2)
  ).figures
  assert found["scenes"] == 3
  assert 0 < found["hole_share"] < 0.5
  assert found["hole_psnr"] == pytest.approx(20 * np.log10(255 / 10))
  assert 20 * np.log10(255 / 50) < found["seen_psnr"] < 20 * np.log10(255 / 30)
  assert found["seen_psnr"] < found["psnr"] < found["hole_psnr"]
  assert np.isnan(found["lpips"])
  # Every film of every scene has noise of its own.
  assert sorted(set(pipe.keys)) == [(0, number) for number in range(6)]
  # The block's outline may fall into pixels of the wall.
  assert found["path_difference"] == found["rendered_path_difference"] < 10


def test_the_same_scene_differs_between_two_films_by_their_colours():
  shot = _shot(1)
  tracks, intrinsics = shot.example["tracks"], shot.example["intrinsics"]
  films = [np.full((*_SIZE, 3), grey, np.uint8) for grey in (90, 102)]
  found = seen_points.path_difference(tracks, intrinsics, shot.poses, films)
  assert found == 12
  beyond = shot.poses[0].copy()
  beyond[:, 0, 3] = 100
  assert np.isnan(
    seen_points.path_difference(
      tracks, intrinsics, [shot.poses[0], beyond], films
    )
  )
