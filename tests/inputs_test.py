"""Pictures and depth maps of every kind, and each mistake's one line."""

import math

import numpy as np
import PIL.Image
import pytest

from more4d_jax import errors, inputs


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


def test_depth_is_sampled_where_the_picture_is(tmp_path):
  columns = np.tile(np.arange(1, 41, dtype=np.float32), (20, 1))
  np.savez(tmp_path / "d.npz", depth=columns)
  depth = inputs.load_depth(tmp_path / "d.npz")
  picture = inputs.picture_from_array(_gradient(200, 400))
  prepared = inputs.prepare(picture, depth, (20, 20))
  np.testing.assert_array_equal(prepared.depth[3], np.arange(11, 31))


def test_depth_formats_agree(tmp_path):
  metres = np.linspace(0.5, 3.0, 400, dtype=np.float32).reshape(20, 20)
  np.save(tmp_path / "d.npy", metres)
  _save(tmp_path / "d.png", np.round(metres * 1000).astype(np.uint16))
  png = inputs.load_depth(tmp_path / "d.png")
  np.testing.assert_allclose(
    png, inputs.load_depth(tmp_path / "d.npy"), atol=5.1e-4
  )


def test_invalid_depth_becomes_the_median():
  depth = np.full((4, 4), 2.0, np.float32)
  depth[0] = [np.nan, np.inf, 0, -1]
  cleaned, count = inputs.clean_depth(depth)
  assert count == 4 and (cleaned == 2).all()


def test_bad_depth(tmp_path):
  np.save(tmp_path / "three.npy", np.zeros((2, 3, 4)))
  np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
  (tmp_path / "broken.npz").write_bytes(b"PK not a zip")
  np.savez(tmp_path / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
  _save(tmp_path / "rgb.png", np.zeros((8, 8, 3), np.uint8))
  for name in ("three.npy", "object.npy", "broken.npz", "two.npz", "rgb.png"):
    with pytest.raises(errors.UserError):
      inputs.load_depth(tmp_path / name)
  with pytest.raises(errors.UserError, match="found none"):
    inputs.clean_depth(np.full((4, 4), np.nan, np.float32))
  picture = inputs.picture_from_array(_gradient(100, 100))
  with pytest.raises(errors.UserError, match="aspect"):
    inputs.prepare(picture, np.ones((50, 80), np.float32), (32, 48))
  with pytest.raises(errors.UserError, match="--fov"):
    inputs.prepare(picture, None, (32, 48), fov=0.0)
