"""Whether results can be written, before they are made."""

import pathlib
import shutil
import tempfile

import pytest

from more4d_jax import errors
from more4d_jax.cli import outputs


def test_places_that_can_be_used_are_left_as_they_were(tmp_path):
  outputs.check_folder(tmp_path / "a" / "b, c")
  outputs.check_file(tmp_path / "a" / "f.mp4")
  outputs.check_folder(tmp_path)
  assert not list(tmp_path.iterdir())


def test_places_that_cannot(tmp_path):
  (tmp_path / "file").write_text("x")
  (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
  for name in ("file/out", "file", "dangling/out"):
    with pytest.raises(errors.UserError, match="is not a folder"):
      outputs.check_folder(tmp_path / name)
  with pytest.raises(errors.UserError, match="it is a folder"):
    outputs.check_file(tmp_path)


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="no /proc")
def test_a_file_system_that_takes_no_files():
  with pytest.raises(errors.UserError, match="may not be written to"):
    outputs.check_folder(pathlib.Path("/proc/out"))


def test_a_full_disk(tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)._replace(free=5 << 20)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
  with pytest.raises(errors.UserError, match="has 5 MiB left, expected 64"):
    outputs.check_folder(tmp_path / "out")

  def full(**_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(tempfile, "TemporaryFile", full)
  with pytest.raises(errors.UserError, match="has 0 MiB left"):
    outputs.check_folder(tmp_path / "out")


def test_a_summary_is_read_again_and_a_damaged_one_is_none(tmp_path):
  path = tmp_path / "s.json"
  assert outputs.read_json(path) == {}
  outputs.write_json(path, {"a": [1]})
  assert outputs.read_json(path) == {"a": [1]}
  for text in ('{"a": [1', "[1]", "\udcff"):
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert outputs.read_json(path) == {}
