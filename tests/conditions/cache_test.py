"""Caches of encoded records: whole, resumable, one name per origin."""

import numpy as np
import pytest

from more4d_jax.conditions import cache


class _Records:
  """Numbers as records; counts how often each is read."""

  def __init__(self, count):
    self.reads = [0] * count

  def __len__(self):
    return len(self.reads)

  def __getitem__(self, index):
    self.reads[index] += 1
    return index


def _transform(number):
  return {"value": np.float32([number, number + 0.5])}


def _encode(batch):
  assert batch["value"].shape == (4, 2)  # One shape, one compilation.
  return {"double": 2 * batch["value"], "sum": batch["value"].sum(axis=1)}


def _job(tmp_path, **fingerprint):
  return cache.CacheJob(
    tmp_path, "test", fingerprint or {"a": 1}, batch=4, part=6
  )


def _values(parts):
  items = [part[i] for part in parts for i in range(len(part))]
  return np.stack([item["double"] for item in items])


def test_every_record_is_encoded_once_in_order(tmp_path):
  records = _Records(15)
  parts = cache.build(_job(tmp_path), records, _transform, _encode)
  assert [len(part) for part in parts] == [6, 6, 3]
  expected = 2 * np.stack([np.arange(15), np.arange(15) + 0.5], axis=1)
  np.testing.assert_array_equal(_values(parts), expected)
  assert records.reads == [1] * 15
  again = cache.build(_job(tmp_path), records, _transform, _encode)
  np.testing.assert_array_equal(_values(again), expected)
  assert records.reads == [1] * 15


def test_interrupted_cache_goes_on_with_the_missing_part(tmp_path):
  records = _Records(15)

  def fail(batch):
    if batch["value"][0, 0] >= 6:
      raise KeyboardInterrupt
    return _encode(batch)

  with pytest.raises(KeyboardInterrupt):
    cache.build(_job(tmp_path), records, _transform, fail)
  assert [p.name for p in _job(tmp_path).directory.iterdir()] == ["part-00000"]
  records.reads = [0] * 15
  parts = cache.build(_job(tmp_path), records, _transform, _encode)
  assert records.reads == [0] * 6 + [1] * 9
  assert sum(len(part) for part in parts) == 15


def test_another_origin_is_another_cache(tmp_path):
  first, second = _job(tmp_path, vae="a"), _job(tmp_path, vae="b")
  assert first.directory != second.directory
  for job in (first, second):
    cache.build(job, _Records(3), _transform, _encode)
  assert len(list(tmp_path.iterdir())) == 2
