"""Splits: disjoint seeds."""

import itertools

import pytest

from data_pipelines.procedural import catalogue, splits


def test_splits_are_disjoint_and_name_known_kinds():
  for first, second in itertools.combinations(splits.SPLITS.values(), 2):
    low = max(first.start, second.start)
    high = min(first.seeds.stop, second.seeds.stop)
    assert low >= high
  for split in splits.SPLITS.values():
    kinds = catalogue.VERSIONS[split.version].kinds
    assert split.kind == "all" or split.kind in kinds
  for version, name in splits.TRAINING.items():
    assert splits.SPLITS[name].version == version


def test_motion64_has_64_motion_scenes():
  split = splits.SPLITS["motion64"]
  assert len(split.seeds) == 64
  assert split.kind == "motion"


def test_a_part_stays_inside_its_split():
  split = splits.SPLITS["train"]
  assert list(split.part(5, 3)) == [5, 6, 7]
  with pytest.raises(ValueError, match="smaller count"):
    splits.SPLITS["motion64"].part(60, 5)
