"""Sizes of scenes, and scenes on finer grids, without a network."""

import numpy as np
import pytest

from more4d_jax import depth_sources, errors, inputs, pictures, scene_size

MODEL = (12, 16)


@pytest.mark.parametrize(
  ("wanted", "picture", "fit", "expected"),
  [
    ("model", (60, 80), "crop", (12, 16)),
    ("picture", (60, 80), "crop", (60, 80)),
    ("picture", (60, 200), "crop", (60, 80)),  # Cropped to the aspect.
    ("picture", (6, 8), "crop", (12, 16)),  # Never smaller than the model's.
    ("picture", (3000, 4000), "crop", (720, 960)),
    ((48, 64), (60, 80), "crop", (48, 64)),
    ("picture", (60, 40), "letterbox", (60, 80)),  # A portrait's frame.
    ((120, 80), (60, 40), "letterbox", (120, 160)),
  ],
)
def test_sizes(wanted, picture, fit, expected):
  assert scene_size.frame_size(wanted, picture, MODEL, fit) == expected


@pytest.mark.parametrize(
  ("wanted", "words"),
  [
    ((48, 48), "aspect 12x16 that the model sees, found 48x48: give 48x64"),
    ((6, 8), "at least 12x16 as the model has"),
    ((12000, 16000), "at most 8294400 pixels"),
  ],
)
def test_impossible_sizes(wanted, words):
  with pytest.raises(errors.UserError, match=words):
    scene_size.frame_size(wanted, (60, 80), MODEL, "crop")


def test_words():
  assert scene_size.parse("480x640") == (480, 640)
  assert scene_size.parse("picture") == "picture"
  for text in ("480", "0x640", "big", "480x640x3", "-1x5"):
    with pytest.raises(errors.UserError, match=r"HxW .* model or picture"):
      scene_size.parse(text)


def _picture(size):
  """Two halves of different colours, and depth of 1 and 4 metres."""
  pixels = np.zeros((*size, 3), np.uint8)
  pixels[:, size[1] // 2 :] = 255
  depth = np.where(pixels[..., 0] > 0, 1.0, 4.0).astype(np.float32)
  found = pictures.from_array(pixels)
  return found, depth_sources.from_array(depth)


def test_a_larger_scene_keeps_what_the_model_drew():
  picture, depth = _picture((60, 80))
  coarse = inputs.prepare(picture, depth, MODEL)
  finer = scene_size.prepare(picture, depth, (MODEL, (60, 80)), None, "crop")
  np.testing.assert_array_equal(finer.image, picture.pixels)
  np.testing.assert_array_equal(finer.depth, depth.depth)
  np.testing.assert_allclose(finer.intrinsics, 5 * coarse.intrinsics, rtol=1e-6)
  first = scene_size.on_grid(np.zeros((1, *MODEL, 3), np.float32) + 1, coarse)
  assert first[0].shape == (1, *MODEL, 3) and first[1].all()
  tracks = _points(coarse)[None].repeat(20, 0)  # More than a chunk of frames.
  moving = coarse.depth == 1.0
  tracks[:, moving, 0] += 0.01 * np.arange(20)[:, None]
  found, seen = scene_size.on_grid(tracks, finer)
  assert found.shape == (20, 60, 80, 3) and seen.shape == (20, 60, 80)
  np.testing.assert_allclose(found[0], _points(finer), atol=1e-5)
  step = found - found[:1]
  right = depth.depth == 1.0
  np.testing.assert_allclose(step[:, ~right], 0, atol=1e-5)
  expected = np.broadcast_to(0.01 * np.arange(20)[:, None], (20, right.sum()))
  np.testing.assert_allclose(step[:, right, 0], expected, atol=1e-5)
  # The centre of each coarse pixel is that of a fine one: exactly its motion.
  np.testing.assert_allclose(found[:, 2::5, 2::5], tracks, atol=1e-5)


def test_coarse_depth_is_guided_by_the_picture():
  picture, _ = _picture((60, 80))
  _, depth = _picture((24, 32))
  finer = scene_size.prepare(picture, depth, (MODEL, (60, 80)), None, "crop")
  expected = np.where(picture.pixels[..., 0] > 0, 1.0, 4.0)
  np.testing.assert_allclose(finer.depth, expected, rtol=1e-3)


def test_a_letterbox_is_cut_off():
  picture, depth = _picture((60, 40))
  frame = scene_size.frame_size("picture", (60, 40), MODEL, "letterbox")
  coarse = inputs.prepare(picture, depth, MODEL, None, "letterbox")
  finer = scene_size.prepare(picture, depth, (MODEL, frame), None, "letterbox")
  assert finer.window.size == (60, 40)
  np.testing.assert_array_equal(
    finer.image[finer.window.slices], picture.pixels
  )
  found, _ = scene_size.on_grid(_points(coarse)[None], finer)
  np.testing.assert_array_equal(found[0, ..., 2], depth.depth)


def _points(prepared):
  height, width = prepared.depth.shape
  fx, fy, cx, cy = prepared.intrinsics
  x = (np.arange(width) + 0.5 - cx) / fx * prepared.depth
  y = (np.arange(height)[:, None] + 0.5 - cy) / fy * prepared.depth
  return np.stack([x, y, prepared.depth], -1).astype(np.float32)
