"""Data sets made undisturbed, killed, continued and refused."""

import fcntl
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from data_pipelines.trajscene import generation, make
from more4d_jax import errors
from more4d_jax.data import record_directory
from tests.data_pipelines.trajscene import toy

ROOT = pathlib.Path(__file__).parents[3]
COUNT = 21


def options(out, processes=1, **scenes):
  scenes = {"count": COUNT, "frames": 5, "height": 6, "width": 8, **scenes}
  return make.MakeOptions(
    out=str(out),
    scenes=generation.SceneOptions(**scenes),
    records_per_shard=8,
    processes=processes,
    progress=False,
  )


def files(directory):
  return {
    str(path.relative_to(directory)): path.read_bytes()
    for path in directory.rglob("*")
    if path.is_file()
  }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  out = tmp_path_factory.mktemp("undisturbed") / "records"
  return make.make_records(options(out), toy.generate)


def test_it_holds_every_record_in_order(undisturbed):
  opened = record_directory.open_records(undisturbed)
  assert len(opened) == COUNT
  found = [opened[i].decode(("id",))["id"] for i in range(COUNT)]
  assert found == [f"toy-{i}" for i in range(COUNT)]
  assert sorted(files(undisturbed)) == [
    "dataset_info.json",
    "features.json",
    "manifest.json",
    *(f"traj_scene-train.array_record-0000{i}-of-00003" for i in range(3)),
  ]


def test_made_again_nothing_changes(undisturbed):
  before = files(undisturbed)
  make.make_records(options(undisturbed), toy.generate)
  assert files(undisturbed) == before


@pytest.mark.parametrize("stop", [1, 8, 13, 20])
def test_continued_after_an_exception(tmp_path, undisturbed, stop):
  def failing(place, scenes):
    if place == stop:
      raise RuntimeError("the generator failed")
    return toy.generate(place, scenes)

  with pytest.raises(RuntimeError, match="the generator failed"):
    make.make_records(options(tmp_path / "records"), failing)
  with pytest.raises(errors.UserError, match="not finished"):
    record_directory.open_records(tmp_path / "records")

  def counting(place, scenes):
    assert place >= stop // 8 * 8  # Finished shards are not made again.
    return toy.generate(place, scenes)

  make.make_records(options(tmp_path / "records"), counting)
  assert files(tmp_path / "records") == files(undisturbed)


KILLED = """
from data_pipelines.trajscene import generation, make
from tests.data_pipelines.trajscene import make_test, toy

if __name__ == "__main__":
  make.make_records(
    make_test.options({out!r}, processes={processes}, **{scenes!r}), {generate}
  )
"""


@pytest.mark.parametrize(
  "processes", [1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_killed_and_continued_gives_the_same_files(
  tmp_path, undisturbed, processes
):
  out, script = tmp_path / "records", tmp_path / "killed.py"
  write_killed(script, out, processes=processes)
  kill_after(script, out, (3, 13))
  make.make_records(options(out, processes), toy.generate)
  assert files(out) == files(undisturbed)


@pytest.mark.long
def test_version_3_killed_ten_times_ends_with_the_same_files(tmp_path):
  scenes = {"height": 16, "width": 24, "version": 3}
  out, script = tmp_path / "records", tmp_path / "killed.py"
  write_killed(script, out, generate="generation.generate", scenes=scenes)
  kill_after(script, out, range(1, COUNT, 2))
  make.make_records(options(out, **scenes))
  whole = make.make_records(options(tmp_path / "whole", **scenes))
  assert files(out) == files(whole)


def write_killed(
  script, out, processes=2, generate="toy.generate_slowly", scenes=None
):
  """Writes the program that is killed."""
  script.write_text(
    KILLED.format(
      out=str(out),
      processes=processes,
      scenes=scenes or {},
      generate=generate,
    )
  )


def kill_after(script, out, counts):
  """Runs a program, and kills it each time as many records are there."""
  for seen in counts:
    run = subprocess.Popen([sys.executable, script], env=environment())
    deadline = time.monotonic() + 60
    while run.poll() is None and len(made(out)) < seen:
      assert time.monotonic() < deadline
      time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, f"it ended before {seen} records"
    # Its workers end with it, so that nobody writes any more.
    time.sleep(0.5)


@pytest.mark.long
def test_killed_at_ten_random_moments_it_ends_with_the_same_files(
  tmp_path, undisturbed
):
  out, script = tmp_path / "records", tmp_path / "killed.py"
  write_killed(script, out)
  rng, kills, finished = random.Random(0), 0, 0
  while kills < 10:
    run = subprocess.Popen([sys.executable, script], env=environment())
    try:
      finished += run.wait(rng.uniform(1.0, 9.0)) == 0
    except subprocess.TimeoutExpired:
      run.send_signal(signal.SIGKILL)
      kills += run.wait() == -signal.SIGKILL
    else:
      assert files(out) == files(undisturbed)
      shutil.rmtree(out)  # Done before the kill: once more from nothing.
    time.sleep(0.3)  # Its workers end with it.
  make.make_records(options(out, processes=2), toy.generate)
  assert files(out) == files(undisturbed)


def made(out):
  """Parts, and for each shard its parts."""
  shards = list(out.glob("*.array_record-*-of-00003"))
  parts = [p for p in out.glob("parts/*") if p.name.isdigit()]
  return parts + 8 * shards


def environment():
  return {**os.environ, "PYTHONPATH": str(ROOT)}


OPEN = """
import sys
import tensorflow_datasets as tfds
from more4d_jax.data import records
data = tfds.builder_from_directory(sys.argv[1]).as_data_source("train")
print(len(data), records.decode(data[20], ("caption",))["caption"])
assert "tensorflow" not in sys.modules
"""


def test_tfds_opens_it_without_tensorflow(undisturbed):
  run = subprocess.run(
    [sys.executable, "-c", OPEN, str(undisturbed)],
    env=environment(),
    capture_output=True,
    text=True,
    check=True,
  )
  assert run.stdout == "21 square 20 slides to the right\n"


def test_other_options_are_refused(undisturbed, tmp_path):
  with pytest.raises(errors.UserError, match="height is 6, asked for 7"):
    make.make_records(options(undisturbed, height=7), toy.generate)
  (tmp_path / "letter.txt").write_text("keep me")
  with pytest.raises(errors.UserError, match="holds other files"):
    make.make_records(options(tmp_path), toy.generate)
  assert sorted(files(tmp_path)) == ["letter.txt"]


def test_of_two_that_begin_at_once_one_makes_it_and_one_is_told(
  tmp_path, undisturbed
):
  out, script = tmp_path / "records", tmp_path / "making.py"
  write_killed(script, out, processes=1)
  runs = [
    subprocess.Popen(
      [sys.executable, script],
      env=environment(),
      stderr=subprocess.PIPE,
      text=True,
    )
    for _ in range(2)
  ]
  said = [run.communicate()[1] for run in runs]
  assert files(out) == files(undisturbed)
  for run, words in zip(runs, said):
    # Whoever comes when all is done finds it done.
    assert run.returncode == 0 or "another process is making" in words
  assert 0 in [run.returncode for run in runs]


def test_two_at_once_are_refused(tmp_path):
  parts = tmp_path / "parts"
  parts.mkdir()
  with (parts / "lock").open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(errors.UserError, match="another process is making"):
      make.make_records(options(tmp_path), toy.generate)
  make.make_records(options(tmp_path), toy.generate)


def test_a_damaged_part_is_made_again(tmp_path, undisturbed):
  out = tmp_path / "records"

  def damaging(place, scenes):
    if place == 7:
      part = out / "parts" / "00000003"
      part.write_bytes(part.read_bytes()[:-9])
    return toy.generate(place, scenes)

  with pytest.raises(errors.UserError, match="run the command again"):
    make.make_records(options(out), damaging)
  make.make_records(options(out), toy.generate)
  assert files(out) == files(undisturbed)


@pytest.mark.parametrize(
  ("scenes", "message"),
  [
    ({"frames": 8}, r"expected 4k \+ 1"),
    ({"count": 0}, "count is 0"),
    ({"width": -3}, "width is -3"),
    ({"seed": -1}, "seed is -1"),
    ({"views": -1}, "views is -1"),
    ({"scenes": "sideways"}, "no procedural scenes 'sideways'"),
    ({"scenes": "door"}, "no procedural scenes 'door' of version 1"),
    (
      {"version": 4},
      "no version 4 of the procedural scenes; there are 1, 2, 3",
    ),
    ({"version": 2, "seeds_of": "unseen"}, "has scenes of version 1"),
    ({"kind": "unheard"}, "no record generator 'unheard'"),
    ({"seeds_of": "nowhere"}, "no split of scenes 'nowhere'"),
    ({"seeds_of": "motion64", "count": 65}, "motion64 has 64 scenes"),
  ],
)
def test_bad_options_are_refused(tmp_path, scenes, message):
  with pytest.raises(errors.UserError, match=message):
    make.make_records(options(tmp_path / "records", **scenes), toy.generate)
  assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_reported(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.UserError, match="cannot write records to"):
    make.make_records(options(tmp_path / "file" / "records"), toy.generate)
