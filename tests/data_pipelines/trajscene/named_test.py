"""Made and imported records, opened by their names with tensorflow-datasets."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines.trajscene import builder, features, generation
from data_pipelines.trajscene import make as making
from more4d_jax import errors
from more4d_jax.cli import main
from more4d_jax.data import record_directory, records
from tests.data_pipelines.importers import layouts, worlds
from tests.data_pipelines.trajscene import toy

ROOT = pathlib.Path(__file__).parents[3]
# What someone writes who has never heard of this package's modules.
_READS = """
import sys
import numpy as np
import tensorflow_datasets as tfds

name, directory, out = sys.argv[1:4]
if name == "-":
  found = tfds.builder_from_directory(directory).as_data_source("train")
else:
  found = tfds.data_source(name, split="train", data_dir=directory)
assert "tensorflow" not in sys.modules
first = found[0]
arrays = {k: v for k, v in first.items() if isinstance(v, np.ndarray)}
arrays |= {f"points_{k}": v for k, v in first["points"].items()}
np.savez(out, id=first["id"].decode(), count=len(found), **arrays)
"""


def read(name, directory, out):
  done = subprocess.run(
    [sys.executable, "-c", _READS, name, str(directory), str(out)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return dict(np.load(out))


def make(out, **more):
  command = ["data", "make", "--out", str(out), "--count", "2", "--frames", "5"]
  command += ["--height", "12", "--width", "16", "--processes", "1"]
  for name, value in more.items():
    command += [f"--{name}", value]
  return main.main(command)


def same(found, directory):
  """The arrays of the record with this id, as our own reader has them."""
  opened = record_directory.open_records(directory)
  all_records = [opened[i].decode() for i in range(len(opened))]
  assert found["count"] == len(all_records)
  [record] = [r for r in all_records if r.id == str(found["id"])]
  dense = [] if record.sparse else ["tracks", "visible"]
  for name in ("video", "depth", "intrinsics", "world_from_camera", *dense):
    wanted = getattr(record, name)
    assert found[name].dtype == wanted.dtype
    np.testing.assert_array_equal(found[name], wanted)
  if record.sparse:
    assert found["tracks"].shape == (0, 0, 0, 3)
    for name in records.schema.POINT_FIELDS:
      wanted = getattr(record.points, name)
      np.testing.assert_array_equal(found[f"points_{name}"], wanted)


@pytest.mark.slow
def test_made_records_are_found_by_their_name(tmp_path, capsys):
  out = tmp_path / "data sets"
  assert make(out, config="small") == 0
  directory = out / "traj_scene" / "small" / record_directory.DATA_VERSION
  assert f"2 records in {directory}" in capsys.readouterr().out
  assert make(out, config="small") == 0  # It is there, and stays.
  assert make(out, config="other", seed="7") == 0
  for name, place in (("traj_scene/small", out), ("-", directory)):
    same(read(name, place, tmp_path / "found.npz"), directory)
  other = directory.parents[1] / "other" / record_directory.DATA_VERSION
  same(read("traj_scene/other", out, tmp_path / "found.npz"), other)
  capsys.readouterr()
  assert main.main(["data", "validate", str(directory)]) == 0
  assert main.main(["data", "stats", str(out)]) == 2
  assert "holds several data sets" in capsys.readouterr().err
  assert main.main(["data", "validate"]) == 2
  assert "more4d data validate DIR" in capsys.readouterr().err


@pytest.mark.slow
def test_imported_sparse_records_are_found_by_their_name(tmp_path):
  source, out = tmp_path / "source", tmp_path / "out"
  source.mkdir()
  layouts.plain(source, worlds.make())
  command = ["data", "import", "--kind", "npz", "--source", str(source)]
  assert main.main([*command, "--out", str(out), "--processes", "1"]) == 0
  same(read("traj_scene/npz", out, tmp_path / "found.npz"), out)


def test_no_default_is_generated_in_silence(tmp_path):
  with pytest.raises(errors.UserError, match=r"which data set.*CONFIG"):
    builder.TrajScene(data_dir=str(tmp_path))
  assert not list(tmp_path.iterdir())


def test_a_flat_folder_stays_what_it_was(tmp_path, capsys):
  out = tmp_path / "flat"
  scenes = generation.SceneOptions(2, 5, 12, 16, version=generation.NEWEST)
  options = making.MakeOptions(str(out), scenes, progress=False, processes=1)
  making.make_records(options, toy.generate)
  # As an earlier version of this program left it: every field is bytes.
  (out / features.FILE).write_text(features.earlier_text())
  before = sorted(path.name for path in out.iterdir())
  assert record_directory.named(out, "any") == out
  assert main.main(["data", "validate", str(out)]) == 0
  assert main.main(["data", "stats", str(out)]) == 0
  assert make(out) == 0  # The same options: nothing is left to make.
  assert sorted(path.name for path in out.iterdir()) == before
  capsys.readouterr()


def test_names_that_cannot_be_folders_are_refused(tmp_path, capsys):
  assert make(tmp_path, config="../up") == 2
  assert "config is '../up'" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_a_description_that_is_another_is_a_problem(tmp_path, capsys):
  assert make(tmp_path) == 0
  [path] = tmp_path.rglob(features.FILE)
  found = json.loads(path.read_text())
  del found["featuresDict"]["features"]["depth"]
  path.write_text(json.dumps(found))
  assert main.main(["data", "validate", str(tmp_path)]) == 2
  assert "differ from those of this version: depth" in capsys.readouterr().out


@pytest.mark.slow
def test_tensorflow_reads_them_decoded(tmp_path, monkeypatch):
  pytest.importorskip("tensorflow", reason="tfds.load needs tensorflow")
  import tensorflow_datasets as tfds

  monkeypatch.setattr(generation, "generate", toy.generate)
  config = builder.TrajSceneConfig(
    name="toy", splits={"train": generation.SceneOptions(3, 5, 12, 16)}
  )
  made = builder.TrajScene(config=config, data_dir=str(tmp_path))
  made.download_and_prepare(file_format="tfrecord")
  shutil.rmtree(tmp_path / "downloads", ignore_errors=True)
  wanted = {
    f"toy-{i}": toy.generate(i, config.splits["train"]) for i in range(3)
  }
  loaded = tfds.load(
    f"traj_scene/toy:{record_directory.DATA_VERSION}",
    split="train",
    data_dir=str(tmp_path),
  )
  for example in tfds.as_numpy(loaded):
    record = wanted.pop(example["id"].decode())
    assert example["video"].shape == record.video.shape
    assert example["tracks"].dtype == np.float32
    near = np.abs(example["tracks"] - record.tracks).max(-1)
    assert (near <= 5e-4 * record.tracks[0, ..., 2]).all()
    np.testing.assert_array_equal(example["visible"], record.visible)
    assert example["points"]["tracks"].shape == (0, 0, 3)
  assert not wanted
