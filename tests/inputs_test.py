"""Pictures and depth brought to a model's size."""

import logging

import numpy as np
import pytest

from more4d_jax import depth_sources, errors, inputs, pictures


def _gradient(height, width):
  row = np.linspace(0, 255, width).astype(np.uint8)
  return np.repeat(np.tile(row, (height, 1))[..., None], 3, axis=-1)


def test_crop_keeps_the_centre_and_the_rays():
  picture = pictures.from_array(_gradient(100, 400))
  prepared = inputs.prepare(picture, None, (32, 48), fov=90.0)
  fx, fy, cx, cy = prepared.intrinsics
  assert prepared.image.shape == (32, 48, 3)
  assert (fx, fy) == pytest.approx((200 * 0.32, 200 * 0.32))
  assert (cx, cy) == pytest.approx((24, 16))
  # The middle column of a horizontal ramp stays the middle of the ramp.
  assert prepared.image[16, 23:25].mean() == pytest.approx(127.5, abs=1.5)


def test_depth_is_sampled_where_the_picture_is():
  columns = np.tile(np.arange(1, 41, dtype=np.float32), (20, 1))
  columns[:, 12] = np.nan
  depth = depth_sources.from_array(columns)
  picture = pictures.from_array(_gradient(200, 400))
  prepared = inputs.prepare(picture, depth, (20, 20))
  expected = np.arange(11.0, 31.0)
  expected[2] = 21  # The median of the other 39 columns.
  np.testing.assert_array_equal(prepared.depth[3], expected)
  np.testing.assert_array_equal(prepared.valid[3], np.arange(20) != 2)
  np.testing.assert_array_equal(prepared.known, prepared.valid)
  assert prepared.invalid_depth == 20


def test_the_camera_of_the_depth_is_used_and_fov_goes_before_it():
  # The map has half the resolution of the picture, which is cut at the sides.
  depth = depth_sources.from_array(
    np.ones((50, 100)), intrinsics=np.array([60.0, 50.0, 45.0, 30.0])
  )
  picture = pictures.from_array(_gradient(100, 200))
  found = inputs.prepare(picture, depth, (50, 50)).intrinsics
  np.testing.assert_allclose(found, [60, 50, 45 - 25, 30])
  found = inputs.prepare(picture, depth, (50, 50), fov=90.0).intrinsics
  np.testing.assert_allclose(found, [50, 50, 25, 25])


def test_bad_preparation():
  picture = pictures.from_array(_gradient(100, 100))
  depth = depth_sources.from_array(np.ones((50, 80)))
  with pytest.raises(errors.UserError, match="aspect"):
    inputs.prepare(picture, depth, (32, 48))
  with pytest.raises(errors.UserError, match="--fov"):
    inputs.prepare(picture, None, (32, 48), fov=0.0)


def test_a_letterbox_keeps_all_of_the_picture(caplog):
  # A portrait of 30 x 20 in a frame of 32 x 48: twice 13 columns beside it.
  picture = pictures.from_array(
    np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
  )
  depth = depth_sources.from_array(
    np.tile(np.linspace(2, 4, 100)[:, None], (1, 66)),
    intrinsics=[60.0, 60.0, 30.0, 52.0],
  )
  found = inputs.prepare(picture, depth, (32, 48), fit="letterbox")
  assert not caplog.records
  window = found.window
  rows, columns = window.slices
  assert (window.top, window.left, window.bottom, window.right) == (
    0,
    13,
    32,
    34,
  )
  # What is inside is the picture resized, what is beside repeats its edge.
  expected = inputs.resize(picture.pixels, (32, 21))
  np.testing.assert_array_equal(found.image[rows, columns], expected)
  np.testing.assert_array_equal(found.image[:, 5], expected[:, 0])
  np.testing.assert_array_equal(found.image[:, 40], expected[:, -1])
  assert found.valid[rows, columns].all() and found.valid.sum() == 32 * 21
  assert found.known.all()  # Borders repeat depth that is known.
  np.testing.assert_array_equal(found.depth[:, 0], found.depth[:, 20])
  assert (np.diff(found.depth[:, 20]) > 0).all()
  # The camera in the window sees the same rays as that of the map.
  inside = window.intrinsics(found.intrinsics)
  sx, sy = 21 / 66, 32 / 100
  np.testing.assert_allclose(
    inside, [60 * sx, 60 * sy, 30 * sx, 52 * sy], rtol=1e-5
  )


def test_a_crop_says_what_it_loses(caplog):
  picture = pictures.from_array(_gradient(120, 40))
  with caplog.at_level(logging.WARNING):
    found = inputs.prepare(picture, None, (48, 64))
  # Of 120 rows 30 stay.
  assert "75 % of the picture is cut off" in caplog.text
  assert found.window == inputs.Window(0, 0, 48, 64)
  caplog.clear()
  inputs.prepare(pictures.from_array(_gradient(96, 128)), None, (48, 64))
  assert not caplog.text


@pytest.mark.parametrize(
  ("source", "found"),
  [((480, 640), (48, 64)), ((120, 40), (96, 32)), ((50, 500), (18, 175))],
)
def test_the_whole_picture_at_the_models_resolution(source, found):
  assert inputs.whole_size(source, (48, 64)) == found
  # Its depth map is taken for that of the picture, however it was rounded.
  picture = pictures.from_array(_gradient(*source))
  inputs.check(picture, depth_sources.from_array(np.ones(found)), None)
