"""Directories of records, whole and damaged."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import loader, record_directory, records, transforms
from tests.data import scenes

LENGTHS = {"train": [3, 2], "test": [1]}


@pytest.fixture
def directory(tmp_path):
  folder = tmp_path / "alone" / "records"
  folder.mkdir(parents=True)
  seed = 0
  for split, lengths in LENGTHS.items():
    paths = record_directory.shard_paths(folder, split, len(lengths))
    for path, length in zip(paths, lengths):
      encoded = [records.encode(scenes.record(seed + i)) for i in range(length)]
      record_directory.write_shard(
        path, [record_directory.serialise(e) for e in encoded]
      )
      seed += length
  splits = [
    {"name": name, "shardLengths": [str(length) for length in lengths]}
    for name, lengths in LENGTHS.items()
  ]
  (folder / record_directory.INFO_FILE).write_text(
    json.dumps({"splits": splits})
  )
  return folder


def ids(opened):
  return [item.decode(("id",))["id"] for item in opened]


def test_records_come_in_order(directory):
  opened = record_directory.open_records(directory, "train")
  assert len(opened) == 5
  assert ids(opened) == [f"toy-{i}" for i in range(5)]
  assert ids(record_directory.open_records(directory.parent, "test")) == [
    "toy-5"
  ]
  assert ids(pickle.loads(pickle.dumps(opened))) == ids(opened)
  for index in (-1, 5):
    with pytest.raises(IndexError):
      opened[index]


def test_the_same_records_give_the_same_file(directory):
  path = record_directory.shard_paths(directory, "train", 2)[0]
  before = path.read_bytes()
  encoded = [records.encode(scenes.record(i)) for i in range(3)]
  record_directory.write_shard(
    path, [record_directory.serialise(e) for e in encoded]
  )
  assert path.read_bytes() == before
  assert not list(directory.glob("*.incomplete"))


@pytest.mark.parametrize(
  "damage",
  [
    lambda raw: raw[: len(raw) // 2],
    lambda raw: b"",
    lambda raw: raw.replace(b"toy-4", b"toy-9"),  # Past the file's checksums.
  ],
)
def test_damage_names_file_and_record(directory, damage):
  path = record_directory.shard_paths(directory, "train", 2)[1]
  path.write_bytes(damage(path.read_bytes()))
  opened = record_directory.open_records(directory, "train")
  assert ids(opened[i] for i in range(3)) == ["toy-0", "toy-1", "toy-2"]
  with pytest.raises(errors.UserError) as caught:
    for index in (3, 4):
      opened[index].decode()
  message = str(caught.value)
  assert "is damaged" in message and str(path) in message
  assert message.startswith(("record 3", "record 4")) and "\n" not in message


def test_a_shard_damaged_in_the_middle_of_training(directory):
  opened = record_directory.open_records(directory, "train")
  config = loader.LoaderConfig(2, max_damaged=0, prefetch=1, threads=1)
  made = loader.make_loader(opened, transforms.motion_example, config)
  next(made)
  path = record_directory.shard_paths(directory, "train", 2)[1]
  raw = path.read_bytes()
  path.write_bytes(raw[:300] + bytes(len(raw) - 300))
  with pytest.raises(errors.DamagedRecordError) as caught:
    for _ in range(20):
      next(made)
  assert str(path) in str(caught.value) and "\n" not in str(caught.value)
  made.close()
  config = dataclasses.replace(config, max_damaged=100)
  made = loader.make_loader(opened, transforms.motion_example, config)
  for _ in range(5):  # Two epochs: both damaged records were met twice.
    assert np.isfinite(next(made)["tracks"]).all()
  assert made.damaged == 4
  made.close()


def test_what_is_not_there_is_said(directory, tmp_path):
  with pytest.raises(errors.UserError, match="splits test, train"):
    record_directory.open_records(directory)
  with pytest.raises(errors.UserError, match="found 'validation'"):
    record_directory.open_records(directory, "validation")
  record_directory.shard_paths(directory, "train", 2)[1].unlink()
  with pytest.raises(errors.UserError, match=r"00001-of-00002 is missing"):
    record_directory.open_records(directory, "train")
  (directory / record_directory.INFO_FILE).write_text('{"splits": [{')
  with pytest.raises(errors.UserError, match="is damaged"):
    record_directory.open_records(directory, "train")
  with pytest.raises(errors.UserError, match="is no directory"):
    record_directory.open_records(tmp_path / "nothing")
  (tmp_path / "empty").mkdir()
  with pytest.raises(errors.UserError, match="not finished"):
    record_directory.open_records(tmp_path / "empty")


def test_a_failed_write_is_an_os_error(tmp_path):
  with pytest.raises(OSError, match="No such file or directory"):
    record_directory.write_shard(tmp_path / "missing" / "shard", [b"entry"])
