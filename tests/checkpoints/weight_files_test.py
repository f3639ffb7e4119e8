"""Weights as people find them: shards, eight bits with scales, damage."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.checkpoints import (
  array_trees,
  safetensors_files,
  weight_files,
)

_INDEX = "model.safetensors.index.json"


def _write(path, tensors):
  safetensors_files.write(
    path,
    {
      name: array_trees.LazyArray(v.shape, v.dtype, lambda v=v: v)
      for name, v in tensors.items()
    },
  )


def _tensors(*names):
  return {n: np.full((2, 3), i, np.float32) for i, n in enumerate(names)}


@pytest.fixture
def shards(tmp_path):
  """Two shards that hold a, b and c, and their index."""
  places = {"a": "x-1.safetensors", "b": "x-1.safetensors"}
  places["c"] = "x-2.safetensors"
  _write(tmp_path / "x-1.safetensors", _tensors("a", "b"))
  _write(tmp_path / "x-2.safetensors", _tensors("c"))
  _write_index(tmp_path, places)
  return tmp_path, places


def _write_index(folder, places):
  text = json.dumps({"metadata": {}, "weight_map": places})
  (folder / _INDEX).write_text(text)


def test_shards_are_joined(shards):
  folder, _ = shards
  assert weight_files.find(folder) == [folder / _INDEX]
  found = weight_files.open_weights(folder / _INDEX)
  assert found.shapes == dict.fromkeys("abc", (2, 3))
  np.testing.assert_array_equal(found.tensors["b"].read(), np.ones((2, 3)))


def _missing(folder, places):
  (folder / "x-2.safetensors").unlink()


def _truncated(folder, places):
  path = folder / "x-2.safetensors"
  path.write_bytes(path.read_bytes()[:-5])


def _elsewhere(folder, places):
  _write_index(folder, {**places, "c": "../x-2.safetensors"})


def _number(folder, places):
  _write_index(folder, {**places, "c": 2})


def _lacking(folder, places):
  _write_index(folder, {**places, "d": "x-1.safetensors"})


def _other_shard(folder, places):
  _write_index(folder, {**places, "b": "x-2.safetensors"})


def _unnamed(folder, places):
  _write_index(folder, {n: places[n] for n in "ac"})


def _held_twice(folder, places):
  _write(folder / "x-2.safetensors", _tensors("b", "c"))


def _named_twice(folder, places):
  text = (folder / _INDEX).read_text()
  more = '"c": "x-1.safetensors", "c"'
  (folder / _INDEX).write_text(text.replace('"c"', more))


def _no_map(folder, places):
  (folder / _INDEX).write_text('{"weights": {}}')


def _deep(folder, places):
  (folder / _INDEX).write_text("[" * 100_000)


_MISMATCHES = {
  _missing: "names x-2.safetensors, which is not beside it: download all 2",
  _truncated: "x-2.safetensors is truncated: its header announces 24 bytes",
  _elsewhere: "names '../x-2.safetensors', expected the name of a file beside",
  _number: "names '2', expected the name of a file",
  _lacking: "disagree: x-1.safetensors lacks d; download",
  _other_shard: "disagree: x-2.safetensors lacks b; download",
  _unnamed: "disagree: the index does not name b; download",
  _held_twice: "x-2.safetensors holds b, and so does x-1.safetensors",
  _named_twice: "is damaged (it names 'c' twice)",
  _no_map: "holds no weight_map",
  _deep: "is damaged (",
}


@pytest.mark.parametrize("change", _MISMATCHES)
def test_shards_that_do_not_fit_are_one_line(shards, change):
  folder, places = shards
  change(folder, places)
  with pytest.raises(errors.UserError) as caught:
    weight_files.open_weights(weight_files.find(folder)[0])
  assert _MISMATCHES[change] in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_shard_without_its_index(tmp_path):
  name = "diffusion_pytorch_model-00002-of-00007.safetensors"
  _write(tmp_path / name, _tensors("a"))
  for source in (tmp_path, tmp_path / name):
    with pytest.raises(errors.UserError, match="is shard 2 of 7: name the"):
      weight_files.find(source)


def _header(path, change):
  """Writes two tensors of 24 bytes whose header was changed."""
  header = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F32", "shape": [2, 3], "data_offsets": [24, 48]},
  }
  text = change(header)
  text = text if isinstance(text, bytes) else json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(48))
  return path


def _set(tensor, name, value):
  return lambda header: header[tensor].update({name: value})


_LIES = {
  "honest": (lambda header: None, ""),
  "type": (_set("a", "dtype", "F4"), "a has the unknown type F4"),
  "type of another size": (_set("a", "dtype", "F64"), "lies in bytes 0 to 24"),
  "shape": (_set("a", "shape", [2, 4]), "a of shape [2, 4]"),
  "huge shape": (_set("a", "shape", [2**62, 2**62]), "a of shape"),
  "negative shape": (_set("a", "shape", [-2, -3]), "no list of counts"),
  "shape of words": (_set("a", "shape", ["2", 3]), "no list of counts"),
  "fraction": (_set("a", "shape", [2.0, 3]), "no list of counts"),
  "truth": (_set("a", "shape", [True, 6]), "no list of counts"),
  "one offset": (_set("a", "data_offsets", [24]), "no list of counts"),
  "overlap": (_set("b", "data_offsets", [0, 24]), "announces 24 bytes"),
  "swapped": (_set("b", "data_offsets", [48, 24]), "lies in bytes 48 to 24"),
  "no shape": (lambda h: h["a"].pop("shape"), "a lacks its type"),
  "no object": (lambda h: h.update(a=3), "a lacks its type"),
  "strings": (
    lambda h: h.update(__metadata__={"a": 1}), "no object of strings"
  ),
  "gap": (
    lambda h: h["a"].update(shape=[5], data_offsets=[4, 24]), "leave a gap at a"
  ),
  "twice": (
    lambda h: b'{"a": {}, "a": {}}', "it names 'a' twice"
  ),
  "list": (lambda h: b"[1, 2]", "is damaged ("),
  "deep": (lambda h: b"[" * 100_000, "is damaged ("),
  "no text": (lambda h: b"\xff\xfe{}", "is damaged ("),
}  # fmt: skip


@pytest.mark.parametrize("case", _LIES)
def test_headers_that_lie_are_one_line(tmp_path, case):
  change, words = _LIES[case]
  path = _header(tmp_path / "a.safetensors", change)
  if not words:
    assert set(weight_files.open_weights(path).tensors) == {"a", "b"}
    return
  with pytest.raises(errors.UserError) as caught:
    weight_files.open_weights(path)
  assert words in str(caught.value)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


_FP8 = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)


@pytest.mark.parametrize("dtype", [*_FP8, np.int8])
@pytest.mark.parametrize(
  ("suffix", "shape"),
  [
    ("scale_weight", ()),
    ("scale_weight", (1,)),
    ("weight_scale", (4,)),
    ("weight_scale", (4, 1)),
  ],
)
def test_eight_bits_times_their_scales(tmp_path, dtype, suffix, shape):
  values = np.random.default_rng(0).normal(size=(4, 6), scale=20).astype(dtype)
  scale = np.linspace(0.01, 0.02, max(1, *shape, 1)).reshape(shape)
  scale = scale.astype(np.float32)
  path = tmp_path / "a.safetensors"
  others = {
    "model.scaled_fp8": np.zeros(2, ml_dtypes.float8_e4m3fn),
    "model.x.scale_input": np.ones((), np.float32),
    "model.x.comfy_quant": np.zeros(5, np.uint8),
  }
  _write(
    path,
    {
      "model.x.weight": values,
      f"model.x.{suffix}": scale,
      "model.x.bias": np.ones(4, np.float16),
      **others,
    },
  )
  found = weight_files.open_weights(path)
  assert set(found.tensors) == {"model.x.weight", "model.x.bias"}
  weight = found.tensors["model.x.weight"]
  assert weight.dtype == np.float32
  factor = np.broadcast_to(scale.reshape(-1, 1), (4, 1)).astype(np.float64)
  expected = values.astype(np.float64) * factor
  np.testing.assert_allclose(weight.read(), expected, rtol=1e-7)
  assert len(found.notes) == 2
  assert "1 weights of eight bits times scales" in found.notes[0]
  words = "3 tensors (comfy_quant, scale_input, scaled_fp8) that are no weights"
  assert words in found.notes[1]


@pytest.mark.parametrize("dtype", _FP8)
def test_eight_bits_without_a_scale_are_meant_as_they_are(tmp_path, dtype):
  every = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
  every = every[np.isfinite(every)]
  _write(tmp_path / "a.safetensors", {"x.weight": every.astype(dtype)})
  weight = weight_files.open_weights(tmp_path / "a.safetensors").tensors
  weight = weight["x.weight"]
  assert weight.dtype == ml_dtypes.bfloat16
  np.testing.assert_array_equal(weight.read().astype(np.float32), every)


@pytest.mark.parametrize(
  ("weight", "scale", "words"),
  [
    (
      np.zeros((4, 6), _FP8[0]),
      np.ones((2, 3), np.float32),
      "(2, 3), expected",
    ),
    (np.zeros((4, 6), _FP8[0]), np.ones(6, np.float32), "(6,), expected"),
    (np.zeros((4, 6), _FP8[0]), np.ones((), np.int32), "int32 (), expected"),
    (
      np.zeros((4, 6), np.float32),
      np.ones((), np.float32),
      "of float32 (4, 6)",
    ),
  ],
)
def test_scales_that_do_not_fit(tmp_path, weight, scale, words):
  path = tmp_path / "a.safetensors"
  _write(path, {"x.weight": weight, "x.scale_weight": scale})
  with pytest.raises(errors.UserError) as caught:
    weight_files.open_weights(path)
  assert words in str(caught.value)


def test_a_scale_that_is_not_finite(tmp_path):
  path = tmp_path / "a.safetensors"
  scale = np.asarray(np.nan, np.float32)
  _write(path, {"x.weight": np.zeros((2, 2), _FP8[0]), "x.scale_weight": scale})
  tensor = weight_files.open_weights(path).tensors["x.weight"]
  with pytest.raises(errors.UserError, match=r"scale of x\.weight is not"):
    tensor.read()
