"""Pictures and depth maps of every kind, and each mistake's one line."""

import math

import numpy as np
import PIL.Image
import pytest

from more4d_jax import depth_sources, errors, inputs


def _save(path, array, **kwargs):
  PIL.Image.fromarray(array).save(path, **kwargs)
  return path


def _gradient(height, width):
  row = np.linspace(0, 255, width).astype(np.uint8)
  return np.repeat(np.tile(row, (height, 1))[..., None], 3, axis=-1)


def test_grey_repeats_its_channel(tmp_path):
  grey = _gradient(20, 30)[..., 0]
  picture = inputs.load_picture(_save(tmp_path / "g.png", grey))
  np.testing.assert_array_equal(picture.pixels, np.stack([grey] * 3, -1))


def test_sixteen_bit_grey_keeps_upper_bits(tmp_path):
  grey = _gradient(20, 30)[..., 0]
  path = _save(tmp_path / "g.png", grey.astype(np.uint16) * 256 + 7)
  np.testing.assert_array_equal(inputs.load_picture(path).pixels[..., 1], grey)


def test_transparent_is_blended_over_white(tmp_path):
  rgba = np.zeros((20, 20, 4), np.uint8)
  rgba[:10, :, 3] = 255
  pixels = inputs.load_picture(_save(tmp_path / "a.png", rgba)).pixels
  assert (pixels[:10] == 0).all() and (pixels[10:] == 255).all()


def test_focal_length_from_exif(tmp_path):
  exif = PIL.Image.Exif()
  exif.get_ifd(0x8769)[0xA405] = 43
  path = _save(tmp_path / "p.jpg", _gradient(240, 320), exif=exif)
  focal = inputs.load_picture(path).focal
  assert focal == pytest.approx(43 / math.hypot(36, 24) * 400)


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda p: p, "no such file"),
    (lambda p: p.write_text("words"), "cannot read"),
    (lambda p: _save(p, np.zeros((1, 1, 3), np.uint8)), "1 x 1"),
    (
      lambda p: _save(p, np.ones((20, 20), np.float32), format="tiff"),
      "floating",
    ),
  ],
)
def test_bad_pictures(tmp_path, make, words):
  path = tmp_path / "p.png"
  make(path)
  with pytest.raises(errors.UserError, match=words) as caught:
    inputs.load_picture(path)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "array",
  [
    np.zeros((20, 20, 2), np.uint8),
    np.full((20, 20, 3), 2.0),
    np.zeros((20, 20, 3), np.int64),
  ],
)
def test_bad_arrays(array):
  with pytest.raises(errors.UserError):
    inputs.picture_from_array(array)


def test_crop_keeps_the_centre_and_the_rays():
  picture = inputs.picture_from_array(_gradient(100, 400))
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
  picture = inputs.picture_from_array(_gradient(200, 400))
  prepared = inputs.prepare(picture, depth, (20, 20))
  expected = np.arange(11.0, 31.0)
  expected[2] = 21  # The median of the other 39 columns.
  np.testing.assert_array_equal(prepared.depth[3], expected)
  np.testing.assert_array_equal(prepared.valid[3], np.arange(20) != 2)
  assert prepared.invalid_depth == 20


def test_the_camera_of_the_depth_is_used_and_fov_goes_before_it():
  # The map has half the resolution of the picture, which is cut at the sides.
  depth = depth_sources.from_array(
    np.ones((50, 100)), intrinsics=np.array([60.0, 50.0, 45.0, 30.0])
  )
  picture = inputs.picture_from_array(_gradient(100, 200))
  found = inputs.prepare(picture, depth, (50, 50)).intrinsics
  np.testing.assert_allclose(found, [60, 50, 45 - 25, 30])
  found = inputs.prepare(picture, depth, (50, 50), fov=90.0).intrinsics
  np.testing.assert_allclose(found, [50, 50, 25, 25])


def test_bad_preparation():
  picture = inputs.picture_from_array(_gradient(100, 100))
  depth = depth_sources.from_array(np.ones((50, 80)))
  with pytest.raises(errors.UserError, match="aspect"):
    inputs.prepare(picture, depth, (32, 48))
  with pytest.raises(errors.UserError, match="--fov"):
    inputs.prepare(picture, None, (32, 48), fov=0.0)
