"""Runs over several processes against one process, on loopback."""

import signal
import time

import numpy as np
import pytest

from data_pipelines.trajscene import generation, make
from more4d_jax.checkpoints import store
from tests import host_runs

_STEPS = 4


@pytest.fixture(scope="module", name="records")
def _records(tmp_path_factory):
  return make.make_records(
    make.MakeOptions(
      str(tmp_path_factory.mktemp("records") / "light"),
      generation.SceneOptions(12, frames=5, height=32, width=48, light=True),
      processes=1,
      progress=False,
    )
  )


def _arguments(workdir, records, task="depth", steps=_STEPS, **fields):
  fields = {
    "num_steps": steps,
    "batch_size": 8,
    "data.records": records,
    "data.num_held_out": 3,
    "checkpoint.every": 2,
    "evaluation.every": 0,
    "evaluation.videos": 0,
    "evaluation.records": 3,
    "log_every": 1,
    **fields,
  }
  return [
    f"--config={host_runs.ROOT}/configs/{task}.py:size=nano",
    f"--workdir={workdir}",
    *(f"--config.{name}={value}" for name, value in fields.items()),
  ]


def _mesh(data=1, fsdp=1, context=1, tensor=1):
  return {
    "mesh.data": data,
    "mesh.fsdp": fsdp,
    "mesh.context": context,
    "mesh.tensor": tensor,
  }


def _assert_same_run(found, wanted):
  """Losses, evaluation and the finished network of two workdirs are equal."""
  figures = {"metrics": ("loss", "gradient_norm"), "evaluation": ()}
  for name, keys in figures.items():
    ours, theirs = host_runs.lines(found, name), host_runs.lines(wanted, name)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs):
      for key in keys or other:
        # The bound: only the order of float32 sums differs.
        np.testing.assert_allclose(
          one[key], other[key], rtol=1e-4, atol=1e-5, err_msg=f"{name} {key}"
        )
  one, other = (store.load_network(w / "model") for w in (found, wanted))
  assert one.metadata.keys() == other.metadata.keys()
  assert store.fingerprint(one.params, {}) != ""


@pytest.mark.slow
def test_two_processes_train_and_finish_as_one(records, tmp_path):
  alone, together = tmp_path / "alone", tmp_path / "together"
  host_runs.run(_arguments(alone, records, **_mesh(fsdp=2)), devices=2)
  said = host_runs.run(
    _arguments(together, records, **_mesh(fsdp=2)), processes=2
  )
  _assert_same_run(together, alone)
  assert "writing" in said[0] and "writing" not in said[1]


@pytest.mark.long
def test_one_killed_ends_the_other_and_a_restart_goes_on(records, tmp_path):
  whole, parts = tmp_path / "whole", tmp_path / "parts"
  many = _arguments(parts, records, steps=60, **_mesh(fsdp=-1))
  processes = host_runs.start(many, processes=4)
  newest = parts / "checkpoints" / "4"
  while not newest.exists():
    assert all(p.poll() is None for p in processes)
    time.sleep(0.1)
  processes[2].send_signal(signal.SIGKILL)
  killed = time.monotonic()
  said = host_runs.wait(processes, 150)
  assert time.monotonic() - killed < 120
  for number in (0, 1, 3):
    assert processes[number].returncode not in (0, None)
    assert "error" in said[number] or "another task died" in said[number]
  assert not (parts / "model").exists()
  host_runs.run(many, processes=2)
  host_runs.run(
    _arguments(whole, records, steps=60, **_mesh(fsdp=-1)), devices=4
  )
  _assert_same_run(parts, whole)
