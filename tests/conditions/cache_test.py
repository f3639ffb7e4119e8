"""Caches of encoded records: whole, resumable, one name per origin."""

import types

import grain
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.conditions import cache


class _Records:
  """Numbers as records; counts how often each is read."""

  def __init__(self, count):
    self.reads = [0] * count

  def __len__(self):
    return len(self.reads)

  def __getitem__(self, index):
    self.reads[index] += 1
    return types.SimpleNamespace(id=f"r{index}", number=index)


def _transform(record):
  return {"value": np.float32([record.number, record.number + 0.5])}


def _encode(batch):
  assert batch["value"].shape == (4, 2)  # One shape, one compilation.
  return {"double": 2 * batch["value"], "sum": batch["value"].sum(axis=1)}


def _job(tmp_path, count=15, **fingerprint):
  return cache.CacheJob(
    tmp_path, "test", fingerprint or {"a": 1}, count, batch=4, part=6
  )


def _values(job):
  parts = cache.open_parts(job)
  items = [part[i] for part in parts for i in range(len(part))]
  return np.stack([item["double"] for item in items])


_EXPECTED = 2 * np.stack([np.arange(15), np.arange(15) + 0.5], axis=1)


def test_every_record_is_encoded_once_in_order(tmp_path):
  records, job = _Records(15), _job(tmp_path)
  cache.build(job, records, _transform, _encode)
  assert [len(part) for part in cache.open_parts(job)] == [6, 6, 3]
  np.testing.assert_array_equal(_values(job), _EXPECTED)
  assert records.reads == [1] * 15
  cache.build(job, records, _transform, _encode)
  np.testing.assert_array_equal(_values(job), _EXPECTED)
  assert records.reads == [1] * 15


def test_interrupted_cache_goes_on_with_the_missing_part(tmp_path):
  records, job = _Records(15), _job(tmp_path)

  def fail(batch):
    if batch["value"][0, 0] >= 6:
      raise KeyboardInterrupt
    return _encode(batch)

  with pytest.raises(KeyboardInterrupt):
    cache.build(job, records, _transform, fail)
  assert sorted(p.name for p in job.directory.iterdir()) == [
    "part-00000.bin",
    "part-00000.json",
  ]
  with pytest.raises(errors.UserError, match=r"00001\.json is missing"):
    cache.open_parts(job)
  records.reads = [0] * 15
  cache.build(job, records, _transform, _encode)
  assert records.reads == [0] * 6 + [1] * 9
  np.testing.assert_array_equal(_values(job), _EXPECTED)


def test_shares_together_are_the_cache(tmp_path):
  job = _job(tmp_path)
  for k in (1, 0):
    records = _Records(15)
    cache.build(job, records, _transform, _encode, share=(k, 2))
    mine = [0] * 6 + [1] * 6 + [0] * 3
    assert records.reads == (mine if k else [1 - r for r in mine])
  np.testing.assert_array_equal(_values(job), _EXPECTED)


def test_another_origin_is_another_cache(tmp_path):
  first, second = _job(tmp_path, 3, vae="a"), _job(tmp_path, 3, vae="b")
  assert first.directory != second.directory
  for job in (first, second):
    cache.build(job, _Records(3), _transform, _encode)
  assert len(list(tmp_path.iterdir())) == 2
  second.directory.rename(tmp_path / "away")
  first.directory.rename(second.directory)
  with pytest.raises(errors.UserError, match="vae is 'a', expected 'b'"):
    cache.open_parts(second)


def test_a_record_whose_latents_are_not_finite_is_named(tmp_path):
  def encode(batch):
    value = np.where(batch["value"] == 7, np.nan, batch["value"])
    return {"motion_mean": value}

  with pytest.raises(errors.UserError, match="record r7 gives motion_mean"):
    cache.build(_job(tmp_path), _Records(15), _transform, encode)


def test_random_choices_follow_from_the_number(tmp_path):
  class Draw(grain.transforms.RandomMap):
    def random_map(self, item, rng):
      return {"value": rng.random(2, np.float32)}

  source = cache.Repeated(_Records(5), 3)
  assert [source[i].number for i in range(len(source))] == [
    number for number in range(5) for _ in range(3)
  ]
  cache.build(_job(tmp_path), source, Draw(), _encode)
  drawn = _values(_job(tmp_path))
  assert len(np.unique(drawn)) == drawn.size  # Parts do not repeat draws.
  again = _job(tmp_path / "again")
  cache.build(again, source, Draw(), _encode)
  np.testing.assert_array_equal(_values(again), drawn)
