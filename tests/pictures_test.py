"""Pictures of every kind, and each mistake's one line."""

import fractions
import logging
import math

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from more4d_jax import errors, pictures


def _save(path, array, **kwargs):
  PIL.Image.fromarray(array).save(path, **kwargs)
  return path


def _gradient(height, width):
  row = np.linspace(0, 255, width).astype(np.uint8)
  return np.repeat(np.tile(row, (height, 1))[..., None], 3, axis=-1)


def test_grey_repeats_its_channel(tmp_path):
  grey = _gradient(20, 30)[..., 0]
  picture = pictures.from_file(_save(tmp_path / "g.png", grey))
  np.testing.assert_array_equal(picture.pixels, np.stack([grey] * 3, -1))


def test_sixteen_bit_grey_keeps_upper_bits(tmp_path):
  grey = _gradient(20, 30)[..., 0]
  path = _save(tmp_path / "g.png", grey.astype(np.uint16) * 256 + 7)
  np.testing.assert_array_equal(pictures.from_file(path).pixels[..., 1], grey)


def test_transparent_is_blended_over_white(tmp_path):
  rgba = np.zeros((20, 20, 4), np.uint8)
  rgba[:10, :, 3] = 255
  pixels = pictures.from_file(_save(tmp_path / "a.png", rgba)).pixels
  assert (pixels[:10] == 0).all() and (pixels[10:] == 255).all()


def test_focal_length_from_exif(tmp_path):
  exif = PIL.Image.Exif()
  exif.get_ifd(0x8769)[0xA405] = 43
  path = _save(tmp_path / "p.jpg", _gradient(240, 320), exif=exif)
  focal = pictures.from_file(path).focal
  assert focal == pytest.approx(43 / math.hypot(36, 24) * 400)


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda p: p, "no such file"),
    (lambda p: p.write_text("words"), "cannot read"),
    (lambda p: _save(p, np.zeros((1, 1, 3), np.uint8)), "1 x 1"),
    (
      lambda p: _save(p, np.full((20, 20), 9, np.float32), format="tiff"),
      "found 9 to 9",
    ),
  ],
)
def test_bad_pictures(tmp_path, make, words):
  path = tmp_path / "p.png"
  make(path)
  with pytest.raises(errors.UserError, match=words) as caught:
    pictures.from_file(path)
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
    pictures.from_array(array)


def _deep_png(path, pixels):
  """A PNG of 16 bits a colour, which Pillow does not write."""
  codec = av.CodecContext.create("png", "w")
  codec.height, codec.width = pixels.shape[:2]
  codec.pix_fmt, codec.time_base = "rgb48be", fractions.Fraction(1)
  frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le")
  frame = frame.reformat(format="rgb48be")
  path.write_bytes(b"".join(bytes(packet) for packet in codec.encode(frame)))
  return path


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("kind", ["grey", "colours", "32-bit"])
def test_values_are_stretched_by_the_bits_in_use(tmp_path, caplog, bits, kind):
  """12 bits in 16 are no dark picture; one line says so."""
  small = _gradient(20, 30)
  deep = np.round(small * ((2**bits - 1) / 255)).astype(np.uint16)
  path = tmp_path / ("p.tif" if kind == "32-bit" else "a: b, c.png")
  if kind == "grey":
    _save(path, deep[..., 0])
  elif kind == "32-bit":
    _save(path, deep[..., 0].astype(np.int32))
  else:
    _deep_png(path, deep)
  with caplog.at_level(logging.WARNING):
    pixels = pictures.from_file(path).pixels
  np.testing.assert_array_equal(pixels, small)
  assert f"use {bits} bits" in caplog.text and len(caplog.records) == 1


def test_colours_of_16_bits_keep_the_upper_ones(tmp_path, caplog):
  small = _gradient(20, 30)
  path = _deep_png(tmp_path / "p.png", small.astype(np.uint16) * 257)
  np.testing.assert_array_equal(pictures.from_file(path).pixels, small)
  assert not caplog.records


def test_floating_point_files_in_the_unit_range_are_read(tmp_path):
  small = _gradient(20, 30)
  path = _save(tmp_path / "p.tif", np.float32(small[..., 0] / 255))
  np.testing.assert_array_equal(pictures.from_file(path).pixels, small)


def _with_exif(path, orientation=None, **fields):
  exif = PIL.Image.Exif()
  if orientation:
    exif[0x0112] = orientation
  for name, value in fields.items():
    exif.get_ifd(0x8769)[int(name.removeprefix("x"), 16)] = value
  return _save(path, _gradient(240, 320), exif=exif, quality=100)


@pytest.mark.parametrize(
  ("value", "line"),
  [
    ("abc", "0xa405 should be a positive number, found 'abc'; ignored"),
    ("-5", "0xa405 should be a positive number"),
    (2, "0.0578 picture widths, is ignored"),
    (0, None),
  ],
)
def test_a_focal_length_that_is_none_is_ignored(tmp_path, caplog, value, line):
  path = _with_exif(tmp_path / "p.jpg", xA405=value)
  with caplog.at_level(logging.WARNING):
    picture = pictures.from_file(path)
  assert picture.focal is None and picture.pixels.shape == (240, 320, 3)
  if line is None:
    assert not caplog.records
  else:
    assert line in caplog.text and len(caplog.records) == 1


def test_focal_length_from_the_sensors_resolution(tmp_path):
  # 50 mm, 40 pixels per mm of a sensor of 3200 pixels, shrunk to 320.
  path = _with_exif(
    tmp_path / "p.jpg", x920A=50, xA20E=400, xA210=3, xA002=3200, xA003=2400
  )
  assert pictures.from_file(path).focal == pytest.approx(50 * 40 / 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_treated_as_its_file(tmp_path, orientation):
  path = _with_exif(tmp_path / "p.jpg", orientation, xA405=43)
  with PIL.Image.open(path) as opened:
    upright = np.asarray(PIL.ImageOps.exif_transpose(opened))
    found = pictures.find(opened)
  again = pictures.find(path)
  np.testing.assert_array_equal(found.pixels, upright)
  np.testing.assert_array_equal(again.pixels, upright)
  assert (
    found.focal == again.focal == pytest.approx(43 / 43.2666 * 400, rel=1e-4)
  )
  rgba = np.zeros((20, 20, 4), np.uint8)
  rgba[:10, :, 3] = 255
  clear = pictures.find(PIL.Image.fromarray(rgba)).pixels
  assert (clear[:10] == 0).all() and (clear[10:] == 255).all()


def test_negative_pixels_are_refused(tmp_path):
  path = _save(tmp_path / "p.tif", np.full((20, 20), -1, np.int32))
  with pytest.raises(errors.UserError, match=r"0 or more in .*found -1"):
    pictures.from_file(path)
