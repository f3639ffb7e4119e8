"""Files that have their names only when they are whole."""

import pathlib

import pytest

from more4d_jax import whole_files


def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path):
  file = tmp_path / "a.txt"
  with whole_files.replaced(file) as name:
    pathlib.Path(name).write_text("first")
    assert not file.exists()
  assert file.read_text() == "first" and file.stat().st_mode & 0o777 == 0o644
  with pytest.raises(OSError, match="full"), whole_files.replaced(file) as name:
    pathlib.Path(name).write_text("half")
    raise OSError("the disk is full")
  assert file.read_text() == "first"
  assert list(tmp_path.iterdir()) == [file]
