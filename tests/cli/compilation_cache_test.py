"""Compiled programs that the command line keeps, each in its own process."""

import errno
import os
import subprocess
import sys

import jax
import pytest

from more4d_jax.cli import compilation_cache
from tests import quick_compilation

_PROGRAM = """
import jax
from more4d_jax.cli import compilation_cache
hits = []
jax.monitoring.register_event_listener(
  lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None
)
print(compilation_cache.use())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: (x @ x.T).sum())(jax.numpy.ones((7, 5)))))
print(jax.config.jax_compilation_cache_max_size, len(hits))
"""


def _run(code, **variables):
  done = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    check=False,
    env={
      **os.environ,
      "XLA_FLAGS": quick_compilation.flags(),
      **variables,
    },
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout.split()


@pytest.mark.slow
def test_the_second_process_finds_what_the_first_compiled(tmp_path):
  folder, value, bound, hits = _run(_PROGRAM, MORE4D_CACHE=str(tmp_path))
  assert folder.startswith(str(tmp_path)) and int(bound) == 4 << 30
  assert (float(value), int(hits)) == (7 * 7 * 5, 0)
  assert list(tmp_path.rglob("*-cache"))
  again = _run(_PROGRAM, MORE4D_CACHE=str(tmp_path))
  assert again[:3] == [folder, value, bound] and int(again[3]) > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a variable of Linux")
def test_the_users_cache_folder(tmp_path):
  variables = {"MORE4D_CACHE": "", "XDG_CACHE_HOME": str(tmp_path)}
  folder, *_ = _run(_PROGRAM, **variables)
  assert folder.startswith(f"{tmp_path}/more4d/programs/")


@pytest.mark.slow
def test_the_library_keeps_nothing(tmp_path):
  code = (
    "import more4d_jax, jax; more4d_jax.load;"
    "print(jax.config.jax_compilation_cache_dir)"
  )
  variables = {"MORE4D_CACHE": "", "XDG_CACHE_HOME": str(tmp_path)}
  assert _run(code, **variables) == ["None"]
  assert not list(tmp_path.iterdir())


def _unchanged():
  return jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize("word", ["off", "0", "OFF"])
def test_it_can_be_switched_off(monkeypatch, capsys, word):
  monkeypatch.setenv(compilation_cache.VARIABLE, word)
  assert compilation_cache.use() is None and _unchanged()
  assert not capsys.readouterr().out


def test_a_folder_that_cannot_be_made_stops_nothing(
  tmp_path, monkeypatch, capsys
):
  (tmp_path / "file").write_text("no folder")
  monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "file"))
  assert compilation_cache.use() is None and _unchanged()
  (line,) = capsys.readouterr().out.splitlines()
  assert "not kept" in line and "MORE4D_CACHE" in line


def test_a_full_disk_stops_nothing(tmp_path, monkeypatch, capsys):
  def full(**_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path))
  monkeypatch.setattr("tempfile.TemporaryFile", full)
  assert compilation_cache.use() is None and _unchanged()
  assert "No space left" in capsys.readouterr().out
