"""Damaged pickles, archives, TFRecords and shards, as commands meet them."""

import gzip
import pickle
import shutil

import numpy as np
import pytest

from data_pipelines.importers import run
from data_pipelines.trajscene import validate
from more4d_jax import errors
from more4d_jax.data import record_directory
from more4d_jax.pickles import files as pickled
from tests import fuzzing
from tests.data_pipelines.importers import (
  geometry_test,
  kubric_test,
  layouts,
  trajscene_test,
)


def importing(kind, path, out):
  """A use of a source: what is taken of it must be valid."""

  def use():
    shutil.rmtree(out, ignore_errors=True)
    arguments = ["data", "import", "--kind", kind, "--source", str(path)]
    arguments += ["--out", str(out), "--processes", "1"]
    return fuzzing.command(arguments)

  def right(_):
    assert len(list(out.rglob(run.REPORT_FILE))) == 1
    assert validate.validate(out).problems == ()

  return use, right


@pytest.mark.parametrize("count", fuzzing.COUNTS)
def test_pickles(tmp_path, count):
  path = tmp_path / "tracks.pkl"
  path.write_bytes(pickle.dumps(trajscene_test.scene_arrays(), protocol=2))
  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()),
    path,
    lambda: pickled.read(path),
    count=count,
  )


@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.slow
def test_imported_pickles(tmp_path, count):
  path = tmp_path / "dog" / "dense_3d_track.pkl"
  path.parent.mkdir()
  path.write_bytes(pickle.dumps(trajscene_test.scene_arrays()))
  use, right = importing("delta", path, tmp_path / "out")
  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()), path, use, right, count=count
  )


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar"])
@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.slow
def test_archives(tmp_path, count, suffix):
  content = {}
  for name in ("000001", "000002"):
    arrays = trajscene_test.scene_arrays(seed=int(name))
    content |= trajscene_test.members(name, arrays)
  path = trajscene_test.archive(tmp_path / "source" / f"r{suffix}", content)
  if suffix == ".tar":
    path.write_bytes(gzip.decompress(path.read_bytes()))
  use, right = importing("trajscene", path, tmp_path / "out")
  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()), path, use, right, count=count
  )


@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.slow
def test_tfrecords(tmp_path, count):
  path = tmp_path / "source" / "a.tfrecord"
  path.parent.mkdir()
  payload = layouts.example(kubric_test.Scene().features())
  layouts.tfrecord_file(path, [payload, payload])
  use, right = importing("kubric", path, tmp_path / "out")
  fuzzing.fuzz(
    fuzzing.damaged_bytes(path.read_bytes()), path, use, right, count=count
  )


@pytest.fixture(scope="module")
def records(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records")
  content = {}
  for name in ("000001", "000002", "000003"):
    arrays = trajscene_test.scene_arrays(seed=int(name))
    content |= trajscene_test.members(name, arrays)
  trajscene_test.archive(folder / "source" / "r.tar.gz", content)
  geometry_test.imported("trajscene", folder / "source")
  return folder / "out"


@pytest.mark.parametrize("count", fuzzing.COUNTS)
@pytest.mark.slow
def test_shards_and_their_metadata(records, tmp_path, count):
  out = tmp_path / "records"
  shutil.copytree(records, out)
  good = {r.id: r for r in _readable(out)}
  for path in sorted(p for p in out.rglob("*") if p.is_file()):
    if path.name == run.REPORT_FILE:  # For people; no command reads it.
      continue
    fuzzing.fuzz(
      fuzzing.damaged_bytes(path.read_bytes()),
      path,
      lambda: fuzzing.command(["data", "validate", "--records", str(out)]),
      count=max(8, count // 5),
    )

  def same(found):
    for record in found:
      wanted = good[record.id]
      np.testing.assert_array_equal(record.tracks, wanted.tracks)

  shard = next(out.rglob("*.array_record-*"))
  fuzzing.fuzz(
    fuzzing.damaged_bytes(shard.read_bytes()),
    shard,
    lambda: _readable(out),
    same,
    count=count,
  )


def _readable(directory):
  """The records that can be read; the others are one line each."""
  opened = record_directory.open_records(directory)
  found = []
  for index in range(len(opened)):
    try:
      found.append(opened[index].decode())
    except errors.UserError:
      continue
  return found
