"""The tfds builder against the records that its generator makes."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines.procedural import splits
from data_pipelines.trajscene import builder, features, generation
from more4d_jax.data import record_directory, records
from tests.data_pipelines.trajscene import toy

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def built(tmp_path, monkeypatch):
  monkeypatch.setattr(generation, "generate", toy.generate)
  made = builder.TrajScene(
    config=builder.TrajSceneConfig(
      name="toy",
      splits={"train": generation.SceneOptions(6, 5, 12, 17, light=True)},
    ),
    data_dir=str(tmp_path),
  )
  made.download_and_prepare(file_format="array_record")
  return made


def test_built_records_are_read_back(built, tmp_path):
  opened = record_directory.open_records(tmp_path)
  tfds_source = built.as_data_source("train")
  assert len(opened) == len(tfds_source) == 6
  expected = {f"toy-{i}": toy.generate(i, options()) for i in range(6)}
  for index in range(6):
    record = opened[index].decode()
    original = expected.pop(record.id)
    error = np.abs(record.tracks - original.tracks).max(axis=-1)
    assert (error <= 5e-4 * original.tracks[0, :, :, 2]).all()
    np.testing.assert_array_equal(record.visible, original.visible)
    decoded = tfds_source[index]
    assert decoded["id"].decode() == record.id
    for name in ("video", "tracks", "visible", "depth"):
      found, wanted = decoded[name], getattr(record, name)
      assert found.dtype == wanted.dtype
      np.testing.assert_array_equal(found, wanted)
  assert not expected


def options():
  return generation.SceneOptions(6, 5, 12, 17, light=True)


def test_features_are_the_encoded_fields():
  assert sorted(features.description()) == sorted(records.ENCODED)


WITHOUT_TENSORFLOW = """
import sys
import tensorflow_datasets as tfds
from data_pipelines.trajscene import builder, features, generation
from more4d_jax.data import records

config = builder.TrajSceneConfig(
  name="two_splits",
  splits={
    "train": generation.SceneOptions(3, 5, 24, 32, views=1, version=2),
    "unseen": generation.SceneOptions(2, 5, 24, 32, seeds_of="unseen2_door"),
  },
)
def data_of(split=None, **more):
  return tfds.data_source(
    "traj_scene",
    split=split,
    data_dir=sys.argv[1],
    builder_kwargs={"config": config},
    download=True,
    download_and_prepare_kwargs={"file_format": "array_record"},
    **more,
  )

data = data_of()
for split, found in sorted(data.items()):
  for example in found:
    assert example["video"].dtype == "uint8"
    assert example["tracks"].dtype == "float32"
  raw = {name: tfds.decode.SkipDecoding() for name in records.ENCODED}
  for fields in data_of(split, decoders=raw):
    record = records.decode(fields)
    records.check(record)
    print(split, record.id, len(record.views), record.shape)
assert "tensorflow" not in sys.modules
"""


def test_named_splits_are_built_and_read_without_tensorflow(tmp_path):
  run = subprocess.run(
    [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stderr
  lines = [line.split(maxsplit=3) for line in run.stdout.splitlines()]
  lines = sorted(line for line in lines if line[0] in ("train", "unseen"))
  start = splits.SPLITS["train2"].start
  seeds = [int(line[1].split("-")[-1]) for line in lines]
  assert sorted(seeds[:3]) == [start, start + 1, start + 2]
  doors = splits.SPLITS["unseen2_door"].start
  assert sorted(seeds[3:]) == [doors, doors + 1]
  assert all(line[1].startswith("procedural-door-") for line in lines[3:])
  assert [line[2] for line in lines] == ["1", "1", "1", "0", "0"]
  assert {line[3] for line in lines} == {"(5, 24, 32)"}
  # The record library opens a named split of the same directory.
  assert len(record_directory.open_records(tmp_path, "unseen")) == 2
