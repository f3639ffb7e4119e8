"""Runs over several processes against one process, on loopback."""

import json
import re
import signal
import time

import jax
import numpy as np
import pytest

from data_pipelines.trajscene import generation, make
from more4d_jax.checkpoints import store
from more4d_jax.data import array_cache, loader
from more4d_jax.models import latent_stats, variants
from tests import host_runs, nano_bundle

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


def _assert_same_run(found, wanted, rtol=1e-4, atol=1e-5):
  """Losses, evaluation and the finished network of two workdirs are equal."""
  figures = {"metrics": ("loss", "gradient_norm"), "evaluation": ()}
  for name, keys in figures.items():
    ours, theirs = host_runs.lines(found, name), host_runs.lines(wanted, name)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, other in zip(ours, theirs):
      for key in keys or other:
        # The bound: only the order of float32 sums differs.
        np.testing.assert_allclose(
          one[key], other[key], rtol=rtol, atol=atol, err_msg=f"{name} {key}"
        )
  one, other = (store.load_network(w / "model") for w in (found, wanted))
  assert one.metadata.keys() == other.metadata.keys()
  # Adam makes a step of full size of a gradient that is almost zero.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=5e-3),
    one.params,
    other.params,
  )


@pytest.mark.slow
def test_two_processes_train_and_finish_as_one(records, tmp_path):
  alone, together = tmp_path / "alone", tmp_path / "together"
  host_runs.run(_arguments(alone, records, **_mesh(fsdp=2)), devices=2)
  said = host_runs.run(
    _arguments(together, records, **_mesh(fsdp=2)), processes=2
  )
  _assert_same_run(together, alone)
  assert "writing" in said[0] and "writing" not in said[1]


@pytest.fixture(scope="module", name="motion_vae")
def _motion_vae(tmp_path_factory):
  root, nano = tmp_path_factory.mktemp("below"), variants.get("nano")
  metadata = nano_bundle.metadata_of(nano, "motion_vae")
  metadata["base_latent_stats"] = latent_stats.identity(16).to_json()
  metadata["identity"] = "0123"
  store.save_network(
    root / "motion_vae" / "model",
    nano_bundle.params_of(nano, "motion_vae"),
    nano.motion_vae,
    metadata,
  )
  return root / "motion_vae"


@pytest.mark.long
@pytest.mark.parametrize(
  ("processes", "devices", "mesh"),
  [
    (2, 1, _mesh(data=2)),
    (2, 2, _mesh(data=2, fsdp=2)),
    (2, 1, _mesh(context=2)),
    (2, 2, _mesh(context=4)),
    (4, 1, _mesh(data=2, tensor=2)),
    (4, 2, _mesh(data=2, context=2, tensor=2)),
  ],
)
def test_meshes_over_processes_repeat_one_process(
  records, motion_vae, tmp_path, processes, devices, mesh
):
  # The latents are made by the first run.
  fields = {
    **mesh,
    "init_from.motion_vae": motion_vae,
    "data.cache": tmp_path / "cache",
    "evaluation.videos": 1,
  }
  alone, together = tmp_path / "alone", tmp_path / "together"
  host_runs.run(
    _arguments(alone, records, "strag", **fields), devices=processes * devices
  )
  host_runs.run(
    _arguments(together, records, "strag", **fields),
    processes=processes,
    devices=devices,
  )
  _assert_same_run(together, alone)
  assert len(list((together / "evaluation").glob("*.mp4"))) == 1


@pytest.mark.long
def test_processes_make_caches_together(records, motion_vae, tmp_path):
  # So many random choices make two parts, one for each process.
  fields = {
    "init_from.motion_vae": motion_vae,
    "data.variants": 8,
    "data.random_crop": True,
    "mesh.fsdp": 2,
  }
  alone, together = tmp_path / "alone", tmp_path / "together"
  host_runs.run(_arguments(alone, records, "strag", 1, **fields), devices=2)
  said = host_runs.run(
    _arguments(together, records, "strag", 1, **fields), processes=2
  )
  assert all("strag-train cache" in text for text in said)
  _assert_same_run(together, alone)
  folders = sorted(p.name for p in (alone / "cache").iterdir())
  assert sorted(p.name for p in (together / "cache").iterdir()) == folders
  for name in folders:
    files = sorted(p.name for p in (alone / "cache" / name).iterdir())
    found = together / "cache" / name
    assert sorted(p.name for p in found.iterdir()) == files
    count = sum(file.endswith(".json") for file in files)
    assert count == (2 if "train" in name else 1)
    for number in range(count):
      one, other = (
        _part(workdir / "cache" / name, number) for workdir in (alone, together)
      )
      assert len(one) == len(other)
      for ours, theirs in zip(one, other):
        for field, value in ours.items():
          # Only the number of examples that are encoded together differs.
          np.testing.assert_allclose(
            value, theirs[field], rtol=1e-4, atol=1e-4, err_msg=field
          )


def _part(folder, number):
  place = array_cache.Place(folder, number)
  index = json.loads(place.index.read_text())
  part = array_cache.open_part(place, index["fingerprint"])
  return [part[i] for i in range(len(part))]


@pytest.mark.long
def test_a_run_goes_on_over_fewer_and_fewer_devices(records, tmp_path):
  whole, parts = tmp_path / "whole", tmp_path / "parts"

  def run(workdir, steps, devices):
    fields = {**_mesh(fsdp=-1), "optimizer.schedule": "constant"}
    arguments = _arguments(workdir, records, steps=steps, **fields)
    host_runs.run(arguments, devices=devices)

  run(whole, 9, 8)
  for steps, devices in ((3, 8), (6, 4), (9, 1)):
    run(parts, steps, devices)
  # On fewer devices sums have another order, over nine steps.
  ours, theirs = (
    [line["loss"] for line in host_runs.lines(w)] for w in (parts, whole)
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-3)
  one, other = (store.load_network(w / "model") for w in (parts, whole))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=5e-3),
    one.params,
    other.params,
  )


_READ = """
import sys
import jax
from more4d_jax import partitioning
from more4d_jax.data import loader
from more4d_jax.experiment import hosts
options = dict(a.removeprefix("--").split("=") for a in sys.argv[1:])
hosts.join(
  options["coordinator"], int(options["process"]), int(options["processes"])
)
shape = [int(n) for n in options["mesh"].split(",")]
mesh = partitioning.make_mesh(partitioning.MeshConfig(*shape))
made = loader.make_loader(
  range(30),
  lambda item: {"item": item},
  loader.LoaderConfig(8, rows=partitioning.batch_rows(mesh, 8)),
)
print("READ", [next(made)["item"].tolist() for _ in range(3)], flush=True)
made.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
  ("mesh", "same"),
  [
    ("2,1,2,1", True),
    pytest.param("1,4,1,1", False, marks=pytest.mark.long),
  ],
)
def test_processes_read_what_one_process_reads(mesh, same):
  config = loader.LoaderConfig(8)
  whole = loader.make_loader(range(30), lambda item: {"item": item}, config)
  wanted = [next(whole)["item"].tolist() for _ in range(3)]
  whole.close()
  processes = host_runs.start(
    [f"--mesh={mesh}"], processes=4, script=("-c", _READ)
  )
  said = host_runs.wait(processes, 300)
  read = [
    json.loads(text.partition("READ ")[2].splitlines()[0]) for text in said
  ]
  for step, batch in enumerate(wanted):
    parts = [steps[step] for steps in read]
    if same:  # Two processes hold each half.
      assert parts == [batch[:4], batch[:4], batch[4:], batch[4:]]
    else:
      assert [item for part in parts for item in part] == batch


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
  # On half the devices sums have another order, over sixty steps.
  _assert_same_run(parts, whole, rtol=2e-2)


@pytest.mark.long
def test_a_request_to_one_process_stops_all_after_the_same_step(
  records, tmp_path
):
  arguments = _arguments(
    tmp_path / "run",
    records,
    steps=100_000,
    **{**_mesh(fsdp=-1), "checkpoint.every": 0},
  )
  processes = host_runs.start(arguments, processes=2)
  while len(_written(tmp_path / "run")) < 3:
    assert all(p.poll() is None for p in processes)
    time.sleep(0.1)
  processes[1].send_signal(signal.SIGTERM)
  asked = time.monotonic()
  said = host_runs.wait(processes, 300)
  assert [p.returncode for p in processes] == [0, 0], said
  assert time.monotonic() - asked < 60
  found = {re.search(r"stopped at step (\d+)", text)[1] for text in said}
  (step,) = found
  assert (tmp_path / "run" / "checkpoints" / step).is_dir()


def _written(workdir):
  path = workdir / "metrics.jsonl"
  return path.read_text().splitlines() if path.exists() else []


@pytest.mark.long
def test_an_error_of_one_process_ends_the_other(records, tmp_path):
  # Only the second process reads the damaged half of a batch.
  code = """
import sys
from more4d_jax.data import loader
from more4d_jax import errors
if "--process=1" in sys.argv:
  read = loader.Loader.__next__
  def damaged(self):
    if self.get_state()["global_next_index"] >= 24:
      raise errors.DamagedRecordError("record 7 of part 3 holds NaN")
    return read(self)
  loader.Loader.__next__ = damaged
import runpy
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""
  arguments = _arguments(tmp_path / "run", records, steps=100, **_mesh(fsdp=-1))
  processes = host_runs.start(arguments, processes=2, script=("-c", code))
  said = host_runs.wait(processes, 300)
  assert [p.returncode for p in processes][1] == 2
  assert processes[0].returncode not in (0, None)
  assert "error: record 7 of part 3 holds NaN" in said[1]
  assert "error" in said[0] or "another task died" in said[0]


@pytest.mark.long
def test_a_request_to_one_process_during_evaluation_ends_all(records, tmp_path):
  # An evaluation that lasts, in which the processes wait for each other.
  code = """
import pathlib, sys, time
from jax.experimental import multihost_utils
from more4d_jax.training import loop
workdir = [a.partition("=")[2] for a in sys.argv if "--workdir" in a][0]
def lasting(*_):
  for turn in range(3000):
    multihost_utils.sync_global_devices(f"turn {turn}")
    time.sleep(0.1)
    if turn == 2:
      pathlib.Path(workdir, "evaluating").touch()
loop.evaluate = lasting
import runpy
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""
  run = tmp_path / "run"
  arguments = _arguments(
    run, records, steps=4, **{**_mesh(fsdp=-1), "evaluation.every": 2}
  )
  processes = host_runs.start(arguments, processes=2, script=("-c", code))
  while not (run / "evaluating").exists():
    assert all(p.poll() is None for p in processes)
    time.sleep(0.1)
  processes[1].send_signal(signal.SIGTERM)
  said = host_runs.wait(processes, 60)
  assert [p.returncode for p in processes] == [0, 0], said
  for text in said:
    assert "stopped: what was finished is kept" in text
    assert "error" not in text
  assert (run / "checkpoints" / "2").is_dir()
