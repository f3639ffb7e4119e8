"""Locations of this machine and of a bucket, which a server here plays."""

import pathlib

import numpy as np
import pytest

from more4d_jax import errors, locations
from more4d_jax.checkpoints import directories, store, stored_arrays
from more4d_jax.data import array_cache
from more4d_jax.training import metrics
from tests import gcs_server


@pytest.fixture(scope="module", name="server")
def _server():
  return gcs_server.running()


@pytest.mark.parametrize(
  ("text", "line"),
  [
    ("s3://bucket/run", "s3:// is not known.*a mounted bucket"),
    ("memory://run", "memory:// is not known"),
    ("gs://", "names no bucket"),
    ("gs:///run", "names no bucket"),
  ],
)
def test_what_cannot_be_read_is_refused(text, line):
  with pytest.raises(errors.UserError, match=line):
    locations.path(text)


def test_a_text_without_scheme_is_a_path_of_this_machine():
  assert locations.path("runs/gs:/a") == pathlib.Path("runs/gs:/a")
  assert locations.here("runs", "it") == pathlib.Path("runs")
  with pytest.raises(errors.UserError, match="--out is gs://b/a, which is not"):
    locations.here("gs://b/a", "--out")


def test_trees_go_to_a_bucket_and_back(server, tmp_path):
  (tmp_path / "a" / "deep").mkdir(parents=True)
  (tmp_path / "a" / "one").write_bytes(b"1" * 100_000)
  (tmp_path / "a" / "deep" / "two").write_text("2")
  target = locations.path("gs://bucket/trees/a")
  locations.copy_tree(tmp_path / "a", target)
  found = locations.files_below(target)
  assert [str(f) for f in found] == [
    "gs://bucket/trees/a/deep/two",
    "gs://bucket/trees/a/one",
  ]
  assert locations.size(found[1]) == 100_000
  back = locations.brought_here(target)
  assert (back / "one").read_bytes() == b"1" * 100_000
  assert locations.brought_here(back) == back
  one = locations.brought_here(target / "one")
  assert one.read_bytes() == b"1" * 100_000
  locations.remove_tree(target)
  locations.remove_tree(target)
  assert not server.names("bucket/trees")


def test_what_others_write_is_seen_at_once(server):
  folder = locations.path("gs://bucket/seen")
  (folder / "a").write_text("a")
  assert [p.name for p in folder.iterdir()] == ["a"]
  server.put("bucket/seen/b", b"b")
  assert [p.name for p in folder.iterdir()] == ["a", "b"]
  assert (folder / "b").is_file()


def test_a_bucket_that_refuses_is_one_line(server, monkeypatch):
  locations.check_writable(locations.path("gs://bucket/free"))
  assert not server.names("bucket/free")
  monkeypatch.setattr(server, "refuses", True)
  with pytest.raises(errors.UserError, match="gs://bucket/no cannot be writt"):
    locations.check_writable(locations.path("gs://bucket/no"))


def test_files_of_other_libraries_come_to_the_bucket(server):
  with locations.written_here(locations.path("gs://bucket/film.mp4")) as path:
    path.write_bytes(b"film")
  assert server.objects["bucket/film.mp4"] == b"film"
  with locations.written_here(locations.path("gs://bucket/profile")) as path:
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "trace").write_bytes(b"trace")
  assert server.objects["bucket/profile/deep/trace"] == b"trace"


def test_metrics_of_a_bucket_go_on_where_they_were_flushed(server):
  writer = metrics.MetricsWriter("gs://bucket/run", "metrics", 0)
  writer.write(1, {"loss": 3.0})
  writer.flush(now=False)
  assert not server.names("bucket/run/metrics")
  writer.write(2, {"loss": 2.0})
  writer.flush()
  writer.write(3, {"loss": 1.0})  # A killed run loses what it did not flush.
  again = metrics.MetricsWriter("gs://bucket/run", "metrics", 1)
  again.write(2, {"loss": 2.5})
  again.close()
  found = metrics.read("gs://bucket/run", "metrics", "loss")
  assert found == {1: 3.0, 2: 2.5}
  assert len(server.names("bucket/run/events/metrics/")) == 2
  writer.close()


def test_a_cache_in_a_bucket(server):
  folder = locations.path("gs://bucket/cache")
  place = array_cache.Place(folder, 0)
  wanted = [{"x": np.full(n + 1, n, np.float32)[:1]} for n in range(3)]
  assert not array_cache.is_finished(place)
  array_cache.write_part(place, wanted, {"of": 1})
  part = array_cache.open_part(place, {"of": 1})
  part.check()
  for number, example in enumerate(wanted):
    np.testing.assert_array_equal(part[number]["x"], example["x"])
  assert server.names("bucket/cache") == [
    "bucket/cache/part-00000.bin",
    "bucket/cache/part-00000.json",
  ]


def test_a_directory_in_a_bucket_counts_once_its_header_is_there(server):
  final = "gs://bucket/model"

  def fill(text):
    with directories.new_directory(final, store.NETWORK) as place:
      assert not (place / store.NETWORK).exists()
      (place / "weights").write_text(text)
      if text == "damaged":
        raise ValueError
      (place / store.NETWORK).write_text("{}")

  fill("first")
  fill("second")
  assert server.objects["bucket/model/weights"] == b"second"
  with pytest.raises(ValueError):
    fill("damaged")
  assert not server.names("bucket/model")
  with (
    pytest.raises(errors.UserError, match="a new directory is gs://"),
    directories.new_directory("gs://bucket/other"),
  ):
    pass


def test_parameters_in_a_bucket(server):
  params = {"a": {"b": np.arange(12, dtype=np.float32).reshape(3, 4)}}
  place = locations.path("gs://bucket/params")
  store.save_params(place, params)
  found = stored_arrays.open_tree(place / store.PARAMS)["a/b"]
  np.testing.assert_array_equal(found[1:], params["a"]["b"][1:])
