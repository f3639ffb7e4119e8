"""Depth from files, arrays and functions, and each mistake's one line."""

import numpy as np
import PIL.Image
import pytest

from more4d_jax import depth_sources, errors

_METRES = np.linspace(0.5, 3.0, 400, dtype=np.float32).reshape(20, 20)
_CAMERA = np.array([30.0, 31.0, 10.0, 9.5], np.float32)
_MATRIX = np.array([[30.0, 0, 10], [0, 31, 9.5], [0, 0, 1]])
_PIXELS = np.full((20, 20, 3), 7, np.uint8)


def _png(path, array):
  PIL.Image.fromarray(array).save(path)
  return path


def test_formats_agree(tmp_path):
  np.save(tmp_path / "d.npy", _METRES)
  np.savez(tmp_path / "d.npz", _METRES)
  _png(tmp_path / "d.png", np.round(_METRES * 1000).astype(np.uint16))
  for name, tolerance in (("d.npy", 0), ("d.npz", 0), ("d.png", 5.1e-4)):
    found = depth_sources.from_file(tmp_path / name)
    np.testing.assert_allclose(found.depth, _METRES, atol=tolerance)
    assert found.valid.all() and found.intrinsics is None


@pytest.mark.parametrize("camera", [_CAMERA, _MATRIX])
def test_a_file_with_camera_and_mask(tmp_path, camera):
  valid = np.ones((20, 20), bool)
  valid[3, 4] = False
  np.savez(
    tmp_path / "d.npz",
    depth=_METRES[None],
    intrinsics=camera,
    valid=valid,
    other=np.zeros(3),
  )
  found = depth_sources.from_file(tmp_path / "d.npz")
  np.testing.assert_array_equal(found.depth, _METRES)
  np.testing.assert_array_equal(found.intrinsics, _CAMERA)
  np.testing.assert_array_equal(found.valid, valid)


def test_unknown_values_become_the_median():
  depth = np.full((4, 4), 2.0, np.float32)
  depth[0] = [np.nan, np.inf, 0, -1]
  depth[1] = 9.0
  valid = np.ones((4, 4), np.uint8)
  valid[1] = 0
  found = depth_sources.from_array(depth, valid=valid)
  assert found.invalid_count == 8
  assert (found.filled() == 2).all()


def test_functions_see_the_picture_and_may_return_any_form():
  whole = depth_sources.from_array(_METRES, intrinsics=_CAMERA)

  def answer(form):
    def estimate(pixels):
      np.testing.assert_array_equal(pixels, _PIXELS)
      return form

    return depth_sources.find(estimate, _PIXELS)

  for form in (
    whole,
    {"depth": _METRES.tolist(), "intrinsics": _MATRIX, "valid": None},
    _METRES.astype(np.float64)[..., None],
  ):
    np.testing.assert_array_equal(answer(form).depth, _METRES)
  assert depth_sources.find(whole, _PIXELS) is whole
  np.testing.assert_array_equal(
    depth_sources.find(_METRES, _PIXELS).depth, _METRES
  )


def test_what_a_function_raises_is_passed_on():
  def estimate(pixels):
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    depth_sources.find(estimate, _PIXELS)


def _estimate(pixels):
  return {"metres": pixels}


_BAD = {
  "three axes": (lambda: _from_array(np.zeros((2, 3, 4))), "one depth map"),
  "words": (lambda: _from_array(np.array([["a"]])), "of numbers"),
  "complex": (lambda: _from_array(np.ones((2, 2), complex)), "of numbers"),
  "nothing valid": (lambda: _from_array(np.full((4, 4), np.nan)), "none that"),
  "all masked": (
    lambda: _from_array(_METRES, valid=np.zeros((20, 20), bool)),
    "none that",
  ),
  "mask of another size": (
    lambda: _from_array(_METRES, valid=np.ones((20, 19), bool)),
    "mask",
  ),
  "mask of shares": (lambda: _from_array(_METRES, valid=_METRES), "mask"),
  "three numbers": (lambda: _from_array(_METRES, intrinsics=_CAMERA[:3]), "fx"),
  "no focal length": (
    lambda: _from_array(_METRES, intrinsics=_CAMERA * [0, 1, 1, 1]),
    "fx",
  ),
  "skew": (lambda: _from_array(_METRES, intrinsics=_MATRIX + 1), "skew"),
  "not finite": (
    lambda: _from_array(_METRES, intrinsics=_CAMERA * np.nan),
    "NaN",
  ),
  "a function's mapping": (
    lambda: depth_sources.find(_estimate, _PIXELS),
    "what _estimate returned, found metres",
  ),
  "a function's nothing": (
    lambda: depth_sources.find(lambda pixels: None, _PIXELS),
    "object",
  ),
}


def _from_array(*args, **kwargs):
  return depth_sources.from_array(*args, **kwargs)


@pytest.mark.parametrize("name", _BAD)
def test_bad_depth(name):
  make, words = _BAD[name]
  with pytest.raises(errors.UserError, match=words) as caught:
    make()
  assert "\n" not in str(caught.value)


_MILLIMETRES = np.round(_METRES * 1000).astype(np.uint16)


def _save_a_header(path):
  """Says that it holds 8 TB."""
  with path.open("wb") as stream:
    header = {"shape": (10**6, 10**6), "fortran_order": False, "descr": "<f8"}
    np.lib.format.write_array_header_1_0(stream, header)


def _save_objects(path):
  np.save(path, np.array([{}], object), allow_pickle=True)


@pytest.mark.parametrize(
  ("name", "make", "words"),
  [
    ("none.npy", lambda p: None, "no such file"),
    ("object.npy", _save_objects, "cannot be read"),
    ("cut.npy", lambda p: p.write_bytes(b"\x93NUMPY"), "cannot be read"),
    ("zip.npz", lambda p: p.write_bytes(b"PK not a zip"), "cannot be read"),
    ("two.npz", lambda p: np.savez(p, a=_METRES, b=_METRES), "found a, b"),
    ("disp.npz", lambda p: np.savez(p, disparity=_METRES), "disparity, which"),
    ("other.npz", lambda p: np.savez(p, invdepth=_METRES), "inverse depth"),
    ("mm.npy", lambda p: np.save(p, _MILLIMETRES), "--depth-unit"),
    ("mm.npz", lambda p: np.savez(p, depth=_MILLIMETRES), "uint16"),
    ("mm.tif", lambda p: _png(p, _MILLIMETRES), "--depth-unit"),
    ("floats.npy", lambda p: np.save(p, _METRES * 1000), "found 1750"),
    ("bomb.npy", _save_a_header, "cannot be read"),
    ("empty.npz", lambda p: np.savez(p), "found none"),
    ("rgb.png", lambda p: _png(p, _PIXELS), "16-bit"),
    ("text.png", lambda p: p.write_text("words"), "cannot be read"),
  ],
)
def test_bad_files(tmp_path, name, make, words):
  path = tmp_path / name
  make(path)
  with pytest.raises(errors.UserError, match=words) as caught:
    depth_sources.from_file(path)
  assert "\n" not in str(caught.value)


def _float_tiff(path, array):
  PIL.Image.fromarray(array.astype(np.float32)).save(path)


def _exr(path, **channels):
  import OpenEXR

  OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(str(path))


_FILES = {
  "u.npy": lambda p: np.save(p, _MILLIMETRES),
  "f.npy": lambda p: np.save(p, np.float64(_METRES * 1000)),
  "u.npz": lambda p: np.savez(p, depth=_MILLIMETRES),
  "u.png": lambda p: _png(p, _MILLIMETRES),
  "u.tif": lambda p: _png(p, _MILLIMETRES),
  "f.tiff": lambda p: _float_tiff(p, _METRES * 1000),
  "z.exr": lambda p: _exr(p, Z=_METRES * 1000),
  "blender.exr": lambda p: _exr(
    p, R=_METRES, G=_METRES, B=_METRES, **{"ViewLayer.Depth.Z": _METRES * 1000}
  ),
}


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("unit", ["mm", "0.001", "Millimetres"])
def test_a_named_unit_holds_for_every_kind_of_file(tmp_path, name, unit):
  _FILES[name](tmp_path / name)
  found = depth_sources.from_file(tmp_path / name, unit)
  np.testing.assert_allclose(found.depth, _METRES, atol=5.1e-4)


def test_files_of_metres(tmp_path):
  np.savez(tmp_path / "d.npz", depth=_MILLIMETRES, unit="mm")
  _float_tiff(tmp_path / "d.tif", _METRES)
  _exr(tmp_path / "d.exr", Z=_METRES)
  for name, tolerance in (("d.npz", 5.1e-4), ("d.tif", 0), ("d.exr", 0)):
    found = depth_sources.from_file(tmp_path / name)
    np.testing.assert_allclose(found.depth, _METRES, atol=tolerance)


def test_an_exr_of_colours_is_no_depth(tmp_path):
  _exr(tmp_path / "c.exr", R=_METRES, G=_METRES, B=_METRES)
  with pytest.raises(errors.UserError, match="found B, G, R"):
    depth_sources.from_file(tmp_path / "c.exr")
  (tmp_path / "d.exr").write_bytes((tmp_path / "c.exr").read_bytes()[:200])
  with pytest.raises(errors.UserError, match="cannot be read"):
    depth_sources.from_file(tmp_path / "d.exr")


@pytest.mark.parametrize("unit", ["feet", "0", "-1", "inf", ""])
def test_other_units_are_refused(unit):
  with pytest.raises(errors.UserError, match="m, cm, mm, or metres per"):
    depth_sources.from_array(_METRES, unit=unit)


def test_shares_of_the_size_are_intrinsics_too():
  matrix = np.array([[0.8, 0, 0.5], [0, 1.07, 0.5], [0, 0, 1]], np.float32)
  found = depth_sources.from_array(np.ones((96, 128)), intrinsics=matrix)
  np.testing.assert_allclose(
    found.intrinsics, [102.4, 102.72, 64, 48], rtol=1e-6
  )


@pytest.mark.parametrize(
  ("depth", "line"),
  [
    (1 / _METRES, None),
    (_METRES[::-1], None),
    (_METRES, "as in disparity"),
    (np.where(np.arange(400).reshape(20, 20) % 3, 0, 2.0), "66 % of the"),
  ],
)
def test_what_is_hardly_depth_is_said(caplog, depth, line):
  depth_sources.from_array(depth)
  assert (line in caplog.text) if line else not caplog.text


def test_fields_that_nobody_reads_are_said(caplog, tmp_path):
  np.savez(tmp_path / "d.npz", depth=np.ones((9, 9)), K=np.eye(3), extra=1)
  depth_sources.from_file(tmp_path / "d.npz")
  assert "these fields are not read: K, extra" in caplog.text
