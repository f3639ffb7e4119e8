"""Array caches against what was written into them."""

import pickle

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import array_cache

FINGERPRINT = {"records": "abc", "shape": (9, 48, 64)}


def examples(count):
  rng = np.random.default_rng(0)
  return {
    "latents": rng.normal(size=(count, 3, 4)).astype(np.float32),
    "text": rng.integers(0, 9, (count, 6), np.int32),
  }


def write(directory, count=7, batch=3):
  batches = examples(count)
  first = {name: value[0] for name, value in batches.items()}
  spec = array_cache.spec_of(count, first)
  with array_cache.ArrayCacheWriter(directory, spec, FINGERPRINT) as writer:
    for start in range(0, count, batch):
      part = {n: v[start : start + batch] for n, v in batches.items()}
      writer.write(start, part)
  return batches


def test_round_trip(tmp_path):
  expected = write(tmp_path / "cache")
  cache = array_cache.open_cache(tmp_path / "cache", FINGERPRINT)
  assert len(cache) == 7 and cache.fingerprint["records"] == "abc"
  for opened in (cache, pickle.loads(pickle.dumps(cache))):
    for index in range(7):
      example = opened[index]
      assert sorted(example) == ["latents", "text"]
      for name, value in example.items():
        np.testing.assert_array_equal(value, expected[name][index])
        assert value.dtype == expected[name].dtype
  np.testing.assert_array_equal(cache.array("text"), expected["text"])
  cache[0]["text"][:] = 0  # A copy; the cache stays.
  np.testing.assert_array_equal(cache[0]["text"], expected["text"][0])
  with pytest.raises(IndexError):
    cache[7]
  assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_another_fingerprint_is_refused(tmp_path):
  write(tmp_path / "cache")
  with pytest.raises(errors.UserError, match="records is 'abc', expected 'x'"):
    array_cache.open_cache(tmp_path / "cache", {**FINGERPRINT, "records": "x"})
  with pytest.raises(errors.UserError, match="exists already"):
    write(tmp_path / "cache")


def test_nothing_half_written_is_left(tmp_path):
  with pytest.raises(ValueError, match="example 3 of 7 was not written"):
    write_part(tmp_path / "cache")
  assert not list(tmp_path.iterdir())
  assert not array_cache.is_finished(tmp_path / "cache")
  with pytest.raises(errors.UserError, match="no finished array cache"):
    array_cache.open_cache(tmp_path / "cache")


def test_what_a_killed_writer_left_is_replaced(tmp_path):
  (tmp_path / "cache.incomplete").mkdir()
  (tmp_path / "cache.incomplete" / "latents.npy").write_bytes(b"half")
  expected = write(tmp_path / "cache")
  cache = array_cache.open_cache(tmp_path / "cache")
  np.testing.assert_array_equal(cache.array("latents"), expected["latents"])
  assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def write_part(directory):
  batch = {name: value[:3] for name, value in examples(7).items()}
  spec = array_cache.spec_of(
    7, {name: value[0] for name, value in batch.items()}
  )
  with array_cache.ArrayCacheWriter(directory, spec, FINGERPRINT) as writer:
    writer.write(0, batch)


def test_wrong_batches_are_refused(tmp_path):
  batch = examples(2)
  spec = array_cache.spec_of(
    2, {name: value[0] for name, value in batch.items()}
  )
  writer = array_cache.ArrayCacheWriter(tmp_path / "cache", spec, FINGERPRINT)
  with pytest.raises(ValueError, match="latents is float64"):
    writer.write(0, {**batch, "latents": batch["latents"].astype(np.float64)})
  with pytest.raises(ValueError, match="below 2"):
    writer.write(1, batch)
  with pytest.raises(ValueError, match="the cache expects"):
    writer.write(0, {"text": batch["text"]})
  writer.abort()
  assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path):
  write(tmp_path / "cache")
  path = tmp_path / "cache" / "latents.npy"
  path.write_bytes(path.read_bytes()[:200])
  with pytest.raises(errors.UserError, match=r"latents\.npy is missing or dam"):
    array_cache.open_cache(tmp_path / "cache")
  (tmp_path / "cache" / array_cache.INDEX_FILE).write_text("{")
  with pytest.raises(errors.UserError, match=r"index\.json is damaged"):
    array_cache.open_cache(tmp_path / "cache")
