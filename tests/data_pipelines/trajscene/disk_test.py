"""Full disks, read-only directories, and how progress is told."""

import contextlib
import errno
import io
import os
import pathlib
import subprocess
import sys

import pytest

from data_pipelines.trajscene import generation, make, progress, shards
from more4d_jax import errors
from more4d_jax.data import record_directory
from tests.data_pipelines.trajscene import toy

ROOT = pathlib.Path(__file__).parents[3]
COUNT = 7


def _options(out, records_per_shard=2):
  return make.MakeOptions(
    str(out),
    generation.SceneOptions(COUNT, 5, 12, 17),
    records_per_shard=records_per_shard,
    processes=1,
    progress=False,
  )


def _names(directory):
  return sorted(path.name for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("failing", ["part", "shard", "manifest"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
  tmp_path, monkeypatch, failing
):
  """The disk is full from the given file on; emptied, the run continues."""
  full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  written, write = [], pathlib.Path.write_bytes

  def write_bytes(path, content):
    written.append(path.name)
    if path.name.startswith({"part": "00000003"}.get(failing, "manifest")):
      write(path, content[: len(content) // 2])
      raise full
    return write(path, content)

  def write_shard(path, entries):
    del path, entries
    raise full

  with monkeypatch.context() as patch:
    if failing == "shard":
      patch.setattr(record_directory, "write_shard", write_shard)
    else:
      patch.setattr(pathlib.Path, "write_bytes", write_bytes)
    with pytest.raises(errors.UserError, match="No space left on device"):
      make.make_records(_options(tmp_path / "records"), toy.generate)
  left = _names(tmp_path)
  assert not [name for name in left if "incomplete" in name]
  assert shards.MANIFEST_FILE not in left
  make.make_records(_options(tmp_path / "records"), toy.generate)
  assert len(record_directory.open_records(tmp_path / "records")) == COUNT


_LIMITED = """
import resource, signal, sys
from tests.data_pipelines.trajscene import disk_test
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
disk_test.make_within_limits(sys.argv[1])
"""
_UNPRIVILEGED = """
import os, sys
from tests.data_pipelines.trajscene import disk_test
disk_test.import_everything()
if os.getuid() == 0:
  os.setuid(65534)  # Permissions do not bind the superuser.
disk_test.make_within_limits(sys.argv[1])
"""


def import_everything():
  """Another user may not be able to read the interpreter's files."""
  generation.check(_options("").scenes)
  toy.generate(0, _options("").scenes)


def make_within_limits(out):
  """Runs in another process; prints the error."""
  try:
    make.make_records(_options(out, 7), toy.generate)
  except errors.UserError as error:
    print(error)


def _run(program, out):
  """What a program in another process prints."""
  return subprocess.run(
    [sys.executable, "-c", program, str(out)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
  ).stdout


def test_files_that_may_not_grow_are_reported_and_the_run_continues(tmp_path):
  """Every part fits into the limit, the shard of seven does not."""
  out = tmp_path / "records"
  printed = _run(_LIMITED, out)
  assert printed.startswith(f"cannot write records to {out}: ")
  assert printed.count("\n") == 1 and "File too large" in printed
  assert not [name for name in _names(out) if "incomplete" in name]
  assert (
    len([p for p in (out / "parts").iterdir() if p.name.isdigit()]) == COUNT
  )
  make.make_records(_options(out, 7), toy.generate)
  assert len(record_directory.open_records(out)) == COUNT


def test_a_read_only_directory_is_reported(tmp_path):
  for directory in (tmp_path, *tmp_path.parents[:2]):
    directory.chmod(0o755)
  printed = _run(_UNPRIVILEGED, tmp_path / "records")
  assert "Permission denied" in printed and printed.count("\n") == 1
  assert not list(tmp_path.iterdir())


class _Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.mark.parametrize(("total", "most"), [(3, 3), (1000, 10)])
def test_progress_is_a_few_lines_in_a_log(total, most):
  log = io.StringIO()
  with progress.shown(total, file=log) as advance:
    for _ in range(total):
      advance(1)
  lines = log.getvalue().splitlines()
  assert len(lines) == most and "\r" not in log.getvalue()
  assert lines[-1].startswith(f"{total} of {total} records, ")


def test_progress_is_a_bar_on_a_terminal():
  screen = _Terminal()
  with progress.shown(5, 2, file=screen) as advance:
    advance(3)
  assert "100%" in screen.getvalue() and "5/5" in screen.getvalue()
  silent = _Terminal()
  with contextlib.ExitStack() as stack:
    stack.enter_context(progress.shown(5, enabled=False, file=silent))(5)
  assert not silent.getvalue()
