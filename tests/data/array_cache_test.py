"""Parts of caches against what was written into them."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import array_cache

FINGERPRINT = {"records": "abc", "shape": (9, 48, 64)}


def examples(count=7):
  """Captions of different lengths, a scalar, and a last one of zeros."""
  rng = np.random.default_rng(0)
  found = []
  for number in range(count):
    text = rng.normal(size=(6, 4)).astype(np.float16)
    text[1 + number % 6 :] = 0
    example = {
      "text": text,
      "latents": rng.normal(size=(3, 4, 2)).astype(np.float32),
      "image": rng.integers(0, 256, (2, 5, 3), np.uint8),
      "number": np.array(number, np.int32),
    }
    found.append(example)
  return [
    *found,
    {name: np.zeros_like(value) for name, value in example.items()},
  ]


def place(folder, number=3):
  return array_cache.Place(folder, number)


def test_round_trip_without_the_rows_that_are_zero(tmp_path):
  expected = examples()
  size = array_cache.write_part(place(tmp_path), expected, FINGERPRINT)
  part = array_cache.open_part(place(tmp_path), FINGERPRINT)
  assert len(part) == len(expected)
  for opened in (part, pickle.loads(pickle.dumps(part))):
    for index, example in enumerate(expected):
      found = opened[index]
      assert set(found) == set(example)
      for name, value in example.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
  tokens = sum(int((e["text"] != 0).any(1).sum()) for e in expected)
  numbers = len([e for e in expected if e["number"]])
  pictures = (len(expected) - 1) * (3 * 4 * 2 * 4 + 2 * 5 * 3)
  assert size == tokens * 4 * 2 + numbers * 4 + pictures
  assert place(tmp_path).data.stat().st_size == size
  part[0]["text"][:] = 0  # A copy; the cache stays.
  np.testing.assert_array_equal(part[0]["text"], expected[0]["text"])
  with pytest.raises(IndexError):
    part[len(part)]


def test_a_part_carries_its_hash(tmp_path):
  array_cache.write_part(place(tmp_path), examples(), FINGERPRINT)
  part = array_cache.open_part(place(tmp_path), FINGERPRINT)
  data = place(tmp_path).data.read_bytes()
  assert part.sha256 == hashlib.sha256(data).hexdigest()
  part.check()
  place(tmp_path).data.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
  with pytest.raises(errors.UserError, match="its hash is not that"):
    part.check()


def test_another_fingerprint_is_refused(tmp_path):
  array_cache.write_part(place(tmp_path), examples(), FINGERPRINT)
  with pytest.raises(errors.UserError, match="records is 'abc', expected 'x'"):
    array_cache.open_part(place(tmp_path), {**FINGERPRINT, "records": "x"})


def test_nothing_half_written_is_left(tmp_path):
  def broken():
    yield from examples()
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    array_cache.write_part(place(tmp_path), broken(), FINGERPRINT)
  assert not list(tmp_path.iterdir())
  assert not array_cache.is_finished(place(tmp_path))
  with pytest.raises(errors.UserError, match="is missing: make the cache"):
    array_cache.open_part(place(tmp_path), FINGERPRINT)


def test_what_a_killed_writer_left_is_removed(tmp_path):
  (tmp_path / "part-00003.0123abcd.partial").write_bytes(b"half")
  (tmp_path / "part-00004.0123abcd.partial").write_bytes(b"of another part")
  array_cache.write_part(place(tmp_path), examples(), FINGERPRINT)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    "part-00003.bin",
    "part-00003.json",
    "part-00004.0123abcd.partial",
  ]


def test_other_examples_are_refused(tmp_path):
  first, *rest = examples()
  rest[0] = {**rest[0], "latents": rest[0]["latents"].astype(np.float64)}
  with pytest.raises(ValueError, match="float64"):
    array_cache.write_part(place(tmp_path), [first, *rest], FINGERPRINT)
  assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path):
  array_cache.write_part(place(tmp_path), examples(), FINGERPRINT)
  part = array_cache.open_part(place(tmp_path), FINGERPRINT)
  data = place(tmp_path).data
  data.write_bytes(data.read_bytes()[:200])
  with pytest.raises(errors.UserError, match=r"00003\.bin is missing or dam"):
    part[5]
  data.unlink()
  with pytest.raises(errors.UserError, match=r"00003\.bin is missing or dam"):
    part[0]
  index = place(tmp_path).index
  older = {**json.loads(index.read_text()), "version": 1}
  index.write_text(json.dumps(older))
  with pytest.raises(errors.UserError, match="has version 1"):
    array_cache.open_part(place(tmp_path), FINGERPRINT)
  index.write_text("{")
  with pytest.raises(errors.UserError, match=r"00003\.json is damaged"):
    array_cache.open_part(place(tmp_path), FINGERPRINT)
