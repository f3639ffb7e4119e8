"""Which records are trained on, held out and mixed."""

import pytest

from more4d_jax import errors
from more4d_jax.experiment import record_splits
from tests.experiment import configurations


def test_no_records_are_one_clear_line():
  with pytest.raises(errors.UserError, match=r"data\.records"):
    record_splits.open_splits(configurations.read("depth").data)


def test_sources_are_joined_chosen_and_repeated():
  whole = record_splits.Concatenated([[1, 2], [], [3]])
  assert [whole[i] for i in range(len(whole))] == [1, 2, 3]
  with pytest.raises(IndexError):
    _ = whole[3]
  chosen = record_splits.Subset(whole, [2, 0])
  assert [chosen[i] for i in range(len(chosen))] == [3, 1]
  cycled = record_splits.cycled(whole, count=2, multiple=3)
  assert [cycled[i] for i in range(len(cycled))] == [1, 2, 1]


def test_fewer_than_no_records_cannot_be_held_out(monkeypatch):
  monkeypatch.setattr(
    record_splits.record_directory, "open_records", lambda _: [1, 2, 3]
  )
  config = configurations.read(
    "depth", **{"data.records": "x", "data.num_held_out": -1}
  )
  with pytest.raises(errors.UserError, match="at least 0"):
    record_splits.open_splits(config.data)


def test_weights_of_data_sets_are_parts_of_the_order(monkeypatch, tmp_path):
  for name in "ab":
    (tmp_path / name).mkdir()
  monkeypatch.chdir(tmp_path)
  sizes = {"a": [0] * 5, "b": [0] * 4}
  monkeypatch.setattr(record_splits.record_directory, "open_records", sizes.get)
  base = {"data.records": "a,b"}
  assert record_splits.parts(configurations.read("depth", **base).data) == ()

  def parts(**changes):
    names = {f"data.{name}": value for name, value in changes.items()}
    weighed = {**base, "data.weights": "3,1", **names}
    return record_splits.parts(configurations.read("depth", **weighed).data)

  found = parts()
  assert [(part.size, part.weight) for part in found] == [(5, 3.0), (4, 1.0)]
  assert [part.size for part in parts(num_held_out=3)] == [5, 1]
  with pytest.raises(errors.UserError, match="no record of b is trained on"):
    parts(num_held_out=3, limit=5)
  for text in ("3", "3,x", "3,-1"):
    with pytest.raises(errors.UserError, match="expected 2 positive numbers"):
      parts(weights=text)
