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


def test_a_run_that_is_killed_twenty_times_ends_bit_for_bit(
  records, motion_vae, tmp_path
):
  def arguments(workdir):
    return _arguments(
      workdir,
      records,
      "strag",
      _STEPS,
      **_mesh(fsdp=2),
      **{"init_from.motion_vae": motion_vae, "log_every": 1},
    )

  whole, parts = tmp_path / "whole", tmp_path / "parts"
  host_runs.run(arguments(whole), devices=2)
  done = []
  for kind, condition in _kills(parts, parts / "cache"):
    if _kill_when(arguments(parts), condition):
      done.append(kind)
  print(done)
  host_runs.run(arguments(parts), devices=2)
  assert {"caching", "saving", "training", "finishing"} == set(done)
  assert len(done) >= _KILLS - 2  # A run may be faster than who looks at it.
  one, other = (store.load_network(w / "model") for w in (parts, whole))
  assert one.metadata == other.metadata
  jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
  ours, theirs = host_runs.lines(parts), host_runs.lines(whole)
  assert [s["loss"] for s in ours] == [s["loss"] for s in theirs]
