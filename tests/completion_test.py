"""Renderings on their way to a network's frame and back."""

import numpy as np
import pytest

from more4d_jax import completion, errors
from more4d_jax import scene as scene_lib


def _scene(size, frames=3):
  colours = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
  return scene_lib.Scene(
    np.ones((frames, *size, 3), np.float32),
    np.ones((frames, *size), bool),
    colours,
    np.array([10, 10, size[1] / 2, size[0] / 2], np.float32),
    8.0,
  )


def test_a_scene_of_the_networks_size_is_the_networks():
  scene = _scene((8, 12))
  video = np.repeat(scene.colours[None], 3, 0)
  coverage = np.ones((3, 8, 12), bool)
  found = completion.to_frame(scene.colours, video, coverage, (3, 8, 12))
  np.testing.assert_array_equal(found[0], video)
  np.testing.assert_array_equal(found[2], scene.colours)
  drawn = 255 - video
  np.testing.assert_array_equal(
    completion.from_frame(drawn, video, coverage), drawn
  )


@pytest.mark.parametrize("size", [(32, 48), (32, 24), (4, 6)])
def test_holes_of_other_sizes_are_filled(size):
  scene = _scene(size, frames=5)
  video = np.full((5, *size, 3), 80, np.uint8)
  coverage = np.ones((5, *size), bool)
  coverage[:, :, : size[1] // 2] = False
  small, covered, picture = completion.to_frame(
    scene.colours, video, coverage, (3, 8, 12)
  )
  assert small.shape == (3, 8, 12, 3) and picture.shape == (8, 12, 3)
  assert 0 < covered.mean() <= 0.5
  np.testing.assert_array_equal(small[covered], 80)
  drawn = np.full((3, 8, 12, 3), 200, np.uint8)
  found = completion.from_frame(drawn, video, coverage)
  # The two meet in a soft seam on the rendering's side.
  np.testing.assert_array_equal(found[:, :, size[1] // 2 + 4 :], 80)
  np.testing.assert_array_equal(found[~coverage], 200)
  assert (np.diff(found.astype(int), axis=2) <= 0).all()


def test_a_rendering_of_another_size():
  scene = _scene((8, 12))
  with pytest.raises(errors.UserError, match=r"scene's \(8, 12\) rows"):
    completion.to_frame(
      scene.colours,
      np.zeros((3, 4, 6, 3), np.uint8),
      np.zeros((3, 4, 6), bool),
      (3, 8, 12),
    )
