"""Runs that are killed again and again end as one that was left alone."""

import time

import jax
import numpy as np
import pytest

from more4d_jax.checkpoints import store
from tests import host_runs
from tests.hosts_test import (  # noqa: F401 (fixtures)
  _arguments,
  _mesh,
  _motion_vae,
  _records,
)

pytestmark = pytest.mark.long
_KILLS, _STEPS = 20, 24


def _kills(workdir, cache):
  """Conditions under which a run is killed, each once it holds anew."""

  def steps():
    path = workdir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0

  def saving():
    return list((workdir / "checkpoints").glob("*tmp*"))

  for number in range(_KILLS):
    if number < 3:
      yield "caching", lambda: list(cache.rglob("*partial*"))
    elif number >= _KILLS - 3:
      yield "finishing", lambda: list(workdir.glob("model.partial"))
    elif number % 3 == 0:
      yield "saving", saving
    else:
      first = steps()
      yield "training", lambda first=first: steps() > first + 1


def _kill_when(arguments, condition):
  """Whether a run was killed before it came to its end."""
  (process,) = host_runs.start(arguments, devices=2)
  while process.poll() is None:
    if condition():
      process.kill()
      process.communicate()
      return True
    time.sleep(0.002)
  text = process.communicate()[0]
  assert process.returncode == 0, text[-4000:]
  return False


def _run_of(workdir, records, motion_vae, **fields):
  return _arguments(
    workdir,
    records,
    "strag",
    _STEPS,
    **_mesh(fsdp=2),
    **{"init_from.motion_vae": motion_vae, "log_every": 1, **fields},
  )


def _assert_equal(parts, whole):
  """Two finished runs are the same, bit for bit."""
  one, other = (store.load_network(w / "model") for w in (parts, whole))
  assert one.metadata == other.metadata
  jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
  ours, theirs = host_runs.lines(parts), host_runs.lines(whole)
  assert [s["loss"] for s in ours] == [s["loss"] for s in theirs]


@pytest.fixture(scope="module", name="whole")
def _whole(records, motion_vae, tmp_path_factory):
  """The workdir of a run that was left alone."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  host_runs.run(_run_of(workdir, records, motion_vae), devices=2)
  return workdir


def test_a_run_that_is_killed_twenty_times_ends_bit_for_bit(
  records, motion_vae, whole, tmp_path
):
  parts = tmp_path / "parts"
  arguments, done = _run_of(parts, records, motion_vae), []
  for kind, condition in _kills(parts, parts / "cache"):
    if _kill_when(arguments, condition):
      done.append(kind)
  print(done)
  host_runs.run(arguments, devices=2)
  assert set(done) == {"caching", "saving", "training", "finishing"}
  assert len(done) >= _KILLS - 2  # A run may be faster than who looks at it.
  _assert_equal(parts, whole)


def test_a_run_that_is_killed_while_it_saves_in_the_background(
  records, motion_vae, whole, tmp_path
):
  parts = tmp_path / "parts"
  arguments = _run_of(
    parts,
    records,
    motion_vae,
    **{"checkpoint.background": "on", "data.cache": whole / "cache"},
  )
  saving = parts / "checkpoints"
  done = [
    _kill_when(arguments, lambda: list(saving.glob("*tmp*"))) for _ in range(4)
  ]
  print(done)
  host_runs.run(arguments, devices=2)
  assert any(done)
  _assert_equal(parts, whole)
