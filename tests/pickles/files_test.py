"""Pickles: what is admitted is exact, what is not runs nothing.

tests/golden/pickles/ was written by PyTorch 2.13: the same tensors in both of
its formats, and a plain pickle with a tensor and arrays.
"""

import collections
import functools
import os
import pathlib
import pickle
import struct
import time
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.pickles import files as pickled
from more4d_jax.pickles import stored_tensors, unpickler

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "pickles"
_WEIGHTS = {
  "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
  "turned": np.arange(6).reshape(2, 3).T.astype(ml_dtypes.bfloat16),
  "parameter": np.ones(2, np.float16),
  "view": np.float32([2, 3, 4]),
  "whole": np.arange(10, dtype=np.float32),
  "empty": np.zeros((0, 3), np.float32),
  "scalar": np.array(3),
  "mask": np.array([True, False]),
}


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_tensors_of_both_formats(name):
  found = pickled.read(_GOLDEN / name)
  assert list(found) == list(_WEIGHTS)
  for key, value in _WEIGHTS.items():
    assert found[key].dtype == value.dtype
    np.testing.assert_array_equal(found[key], value)


def test_tensors_are_read_when_they_are_asked_for():
  found = pickled.read_lazily(_GOLDEN / "zip.pth")
  turned = found["turned"]
  assert isinstance(turned, stored_tensors.StoredTensor)
  assert turned.shape == (3, 2)
  assert turned.dtype == ml_dtypes.bfloat16
  np.testing.assert_array_equal(turned.read(), _WEIGHTS["turned"])


def test_a_file_that_is_gone_when_its_tensor_is_read(tmp_path):
  path = tmp_path / "zip.pth"
  path.write_bytes((_GOLDEN / "zip.pth").read_bytes())
  tensor = pickled.read_lazily(path)["weight"]
  path.unlink()
  with pytest.raises(errors.UserError, match="cannot be read"):
    tensor.read()


def test_a_plain_pickle_with_a_tensor_and_arrays():
  found = pickled.read(_GOLDEN / "scene.pkl")
  coords = np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3)
  np.testing.assert_array_equal(found["coords"], coords)
  np.testing.assert_array_equal(
    found["colors"], np.arange(12, dtype=np.float32).reshape(4, 3)
  )
  np.testing.assert_array_equal(found["vis"], [[True, False]])
  assert found["fps"] == np.float32(3.5)
  assert found["note"] == ["text", 2]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_protocol(tmp_path, protocol, order):
  path = tmp_path / "arrays.pkl"
  values = {
    dtype: np.asarray(np.arange(6).reshape(2, 3), dtype, order=order)
    for dtype in ("f4", ">f8", "i8", "?", "u1", "c8")
  }
  path.write_bytes(pickle.dumps(values, protocol=protocol))
  for dtype, value in pickled.read(path).items():
    np.testing.assert_array_equal(value, values[dtype])


class _Evil:
  """Runs a call when it is unpickled by Python's own reader."""

  def __init__(self, call, *arguments):
    self._reduced = call, arguments

  def __reduce__(self):
    return self._reduced


def _as_zip(path, evil):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", pickle.dumps({"w": evil}, 2))


def _as_legacy(path, evil):
  parts = (0x1950A86A20F9469CFC6C, 1001, {}, {"w": evil}, [])
  path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))


def _as_plain(path, evil):
  path.write_bytes(pickle.dumps({"coords": evil}))


@pytest.mark.parametrize("write", [_as_zip, _as_legacy, _as_plain])
@pytest.mark.parametrize(
  ("call", "name"),
  [
    (os.system, f"{os.name}.system"),
    (eval, "builtins.eval"),
    (exec, "builtins.exec"),
    (getattr, "builtins.getattr"),
    (np.load, "numpy.load"),
    (functools.partial, "functools.partial"),
    (collections.Counter, "collections.Counter"),
  ],
)
def test_a_program_in_a_pickle_is_refused_by_name(tmp_path, write, call, name):
  victim, path = tmp_path / "victim", tmp_path / "weights.pth"
  write(path, _Evil(call, f"touch {victim}"))
  with pytest.raises(errors.UserError, match="is refused") as caught:
    pickled.read(path)
  # Older protocols have the older name of the module of built-ins.
  assert name in str(caught.value).replace("__builtin__", "builtins")
  assert "\n" not in str(caught.value)
  assert not victim.exists()


def test_python_s_own_reader_would_have_run_it(tmp_path):
  # Otherwise the test above could not fail.
  victim, path = tmp_path / "victim", tmp_path / "weights.pkl"
  _as_plain(path, _Evil(os.system, f"touch {victim}"))
  pickle.loads(path.read_bytes())
  assert victim.exists()


def test_arrays_of_objects_are_refused(tmp_path):
  path = tmp_path / "objects.pkl"
  path.write_bytes(pickle.dumps(np.array([1, "x"], object)))
  with pytest.raises(errors.UserError, match="no numbers"):
    pickled.read(path)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "scene.pkl"])
def test_a_truncated_file_is_one_clear_line(tmp_path, name):
  data, path = (_GOLDEN / name).read_bytes(), tmp_path / name
  for length in range(0, len(data), 29):
    path.write_bytes(data[:length])
    with pytest.raises(errors.UserError, match=r"damaged|refused") as caught:
      pickled.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "scene.pkl"])
def test_changed_bytes_raise_nothing_else(tmp_path, name):
  data, path = (_GOLDEN / name).read_bytes(), tmp_path / name
  generator = np.random.default_rng(0)
  for _ in range(150):
    changed = bytearray(data)
    changed[generator.integers(len(data))] = generator.integers(256)
    path.write_bytes(changed)
    try:
      pickled.read(path)
    except errors.UserError as error:
      assert "\n" not in str(error)


@pytest.mark.parametrize(
  ("start", "shape", "strides", "message"),
  [
    (0, (4,), (1,), "beyond what is stored"),
    (2, (2,), (1,), "beyond what is stored"),
    (0, (3,), (-1,), "impossible"),
    (0, (2**40,), (0,), "larger than what is stored"),
    (0, (2, 2), (1,), "impossible"),
  ],
)
def test_a_tensor_stays_inside_its_storage(
  tmp_path, start, shape, strides, message
):
  path = tmp_path / "weights.pth"
  with path.open("wb") as file:
    for part in (0x1950A86A20F9469CFC6C, 1001, {}):
      pickle.dump(part, file, 2)
    # GLOBAL, mark and TUPLE by hand: the names exist in no module here.
    file.write(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(")
    file.write(b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n")
    file.write(b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x03NtQ")
    for value in (start, shape, strides, False):
      file.write(pickle.dumps(value, 2)[2:-1])
    file.write(b"NtR.")
    pickle.dump(["0"], file, 2)
    file.write(struct.pack("<q", 3) + np.ones(3, np.float32).tobytes())
  with pytest.raises(errors.UserError, match=message):
    pickled.read(path)


def test_an_absent_file_is_one_clear_line(tmp_path):
  with pytest.raises(errors.UserError, match="there is no file"):
    pickled.read(tmp_path / "nothing.pth")


def test_pytorch_writes_what_is_read_here(tmp_path):
  torch = pytest.importorskip("torch", reason="PyTorch writes the files")
  base = torch.randn(4, 5, 6, dtype=torch.float64)
  values = {
    "turned": base.permute(2, 0, 1),
    "part": base[1:3, :, ::2],
    "half": base.to(torch.bfloat16),
  }
  for zipped in (True, False):
    path = tmp_path / f"{zipped}.pth"
    torch.save(values, path, _use_new_zipfile_serialization=zipped)
    for key, value in pickled.read(path).items():
      expected = values[key].to(torch.float64).numpy()
      np.testing.assert_array_equal(value.astype(np.float64), expected)
  path = tmp_path / "plain.pkl"
  path.write_bytes(pickle.dumps(values))
  found = pickled.read(path)
  np.testing.assert_array_equal(found["part"], values["part"].numpy())


def laughs(levels, width):
  """Lists that hold the list before several times."""
  value = [1.0]
  for _ in range(levels):
    value = [value] * width
  return value


def deep(levels):
  """A pickle of lists in lists, written by hand: Python's would recurse."""
  return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


def called(name, argument, times):
  """A pickle that calls a function again and again on one argument."""
  start = b"\x80\x02" + name + b"q\x00" + argument + b"q\x01]"
  return start + b"h\x00h\x01R0" * times + b"."


_BOMBS = {
  "shared parts": (pickle.dumps(laughs(22, 4)), "its own parts so often"),
  "depth": (deep(4000), "levels deep"),
  "an index of the memo": (b"\x80\x02Nr\xff\xff\xff\x7f.", None),
  "steps": (b"\x80\x02" + b"}0" * (1 << 13) + b"N.", "16384 elements"),
  "a key that takes long to hash": (
    b"\x80\x02}N" + b"2\x86" * 64 + b"K\x00s.",
    "neither text nor a number",
  ),
  "bytes that are not there": (
    b"\x80\x04\x8e" + struct.pack("<q", 1 << 40) + b".",
    "ends early",
  ),
  "copies of a text": (
    called(
      b"c_codecs\nencode\n",
      b"X"
      + struct.pack("<i", 1 << 16)
      + b"x" * (1 << 16)
      + b"X\x06\x00\x00\x00latin1\x86",
      5000,
    ),
    "copies more than",
  ),
  "shapes of many axes": (
    called(b"ctorch\nSize\n", b"(" + b"K\x01" * 1000 + b"t\x85", 1000),
    "impossible shape",
  ),
  "types that take long to parse": (
    called(
      b"cnumpy\ndtype\n",
      b"X" + struct.pack("<i", 4000) + b"f4," * 1333 + b"f" + b"\x85",
      1000,
    ),
    "unknown type",
  ),
}


@pytest.mark.parametrize("kind", _BOMBS)
def test_a_pickle_costs_no_more_than_its_size(tmp_path, monkeypatch, kind):
  # Checked annotations and traced memory make a step a hundred times as long.
  monkeypatch.setattr(unpickler, "_MOST_STEPS", 1 << 14)
  content, message = _BOMBS[kind]
  path = tmp_path / "bomb.pkl"
  path.write_bytes(content)
  start = time.process_time()
  tracemalloc.start()
  try:
    if message is None:
      assert pickled.read(path) is None
    else:
      with pytest.raises(errors.UserError, match=message) as caught:
        pickled.read(path)
      assert "\n" not in str(caught.value)
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert most < 3 * len(content) + (50 << 20)
  assert time.process_time() - start < 10


def test_parts_that_are_shared_stay_shared(tmp_path):
  path = tmp_path / "shared.pkl"
  path.write_bytes(pickle.dumps(laughs(6, 4)))
  value = pickled.read(path)
  assert value == laughs(6, 4)
  assert value[0] is value[3]


def test_a_value_inside_itself_is_refused(tmp_path):
  path = tmp_path / "endless.pkl"
  value = [1]
  value.append({"again": value})
  path.write_bytes(pickle.dumps(value))
  with pytest.raises(errors.UserError, match="contains itself"):
    pickled.read(path)


def test_many_tensors_of_few_numbers_are_refused(tmp_path):
  torch = pytest.importorskip("torch", reason="PyTorch writes the files")
  base = torch.zeros(100_000)
  path = tmp_path / "views.pth"
  torch.save([base[n:] for n in range(100)], path)
  assert len(pickled.read_lazily(path)) == 100
  with pytest.raises(errors.UserError, match="more than twice"):
    pickled.read(path)
