"""The tfds builder against the records that its generator makes."""

import numpy as np
import pytest

from data_pipelines.trajscene import builder, generation
from more4d_jax.data import records, source
from tests.data_pipelines.trajscene import toy


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
  opened = source.open_records(tmp_path)
  tfds_source = built.as_data_source("train")
  assert len(opened) == len(tfds_source) == 6
  expected = {f"toy-{i}": toy.generate(i, options()) for i in range(6)}
  for index in range(6):
    record = opened[index].decode()
    original = expected.pop(record.id)
    error = np.abs(record.tracks - original.tracks).max(axis=-1)
    assert (error <= 5e-4 * original.tracks[0, :, :, 2]).all()
    np.testing.assert_array_equal(record.visible, original.visible)
    fields = tfds_source[index]
    assert records.decode(fields, ("id",))["id"] == record.id
  assert not expected


def options():
  return generation.SceneOptions(6, 5, 12, 17, light=True)


def test_features_are_the_encoded_fields():
  assert sorted(builder.features()) == sorted(records.ENCODED)
