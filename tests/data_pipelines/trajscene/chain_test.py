"""Made records of version 2 train a network of the first issue unchanged."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from more4d_jax.cli import data, recipes, train_all
from more4d_jax.data import record_directory
from more4d_jax.models import variants
from tests import quick_compilation

ROOT = pathlib.Path(__file__).parents[3]


@pytest.mark.slow
def test_a_network_trains_on_them(tmp_path):
  """The depth network, which starts from nothing; two steps."""
  variant = variants.get("nano")
  out = tmp_path / "records"
  data.make(
    out=str(out),
    count=8,
    frames=variant.frames,
    height=variant.height,
    width=variant.width,
    version=2,
    light=True,
    processes=1,
  )
  kinds = {
    record_directory.open_records(out)[i].decode().id.split("-")[1]
    for i in range(8)
  }
  assert len(kinds) > 3
  workdir = tmp_path / "depth"
  subprocess.run(
    [
      sys.executable,
      str(ROOT / "main.py"),
      f"--config={ROOT / 'configs' / 'depth.py'}:size=nano",
      f"--workdir={workdir}",
      "--config.num_steps=2",
      "--config.batch_size=4",
      f"--config.data.records={out}",
      f"--config.data.held_out={out}",
    ],
    env={**os.environ, "XLA_FLAGS": quick_compilation.flags()},
    check=True,
    capture_output=True,
  )
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  losses = [json.loads(line)["loss"] for line in lines]
  assert len(losses) == 2 and np.isfinite(losses).all()


def test_records_of_a_recipe_have_the_version_that_it_names(tmp_path):
  for recipe in recipes.RECIPES.values():
    steps = list(train_all.making(recipe, tmp_path))
    versions = [str(records.version) for records in recipe.records.values()]
    assert [step.command[-1] for step in steps] == versions
    assert {step.command[-2] for step in steps} == {"--version"}


def test_stages_take_what_stands_before_them_in_the_recipe():
  for recipe in recipes.RECIPES.values():
    done = []
    for stage in recipe.stages:
      assert set(stage.records.split(",")) <= set(recipe.records)
      assert set(stage.init_from.values()) <= set(done)
      assert stage.steps > 0
      done.append(stage.name)
    # The bundle is made of the last stage of each task, named like it.
    last = {stage.task: stage.name for stage in recipe.stages}
    assert all(task == name for task, name in last.items())
    assert {"video_vae", "depth", "motion_vae", "strag"} <= set(last)


@pytest.mark.long
def test_a_whole_recipe_runs_on_version_2(tmp_path, monkeypatch):
  """Records, five trainings, a bundle and a scene by one command."""
  nano = recipes.RECIPES["nano"]
  sets = {
    name: dataclasses.replace(records, version=2)
    for name, records in nano.records.items()
  }
  second = dataclasses.replace(nano, records=sets)
  monkeypatch.setattr(recipes, "RECIPES", {"nano": second})
  train_all.train_all(recipe="nano", out=tmp_path)
  kinds = set()
  for name, records in sets.items():
    opened = record_directory.open_records(tmp_path / "records" / name)
    assert len(opened) == records.count
    for index in range(len(opened)):
      assert (
        opened[index].decode(("source",))["source"].startswith("procedural 2, ")
      )
    kinds |= {opened[i].decode(("id",))["id"].split("-")[1] for i in range(4)}
  assert len(kinds) > 4
  assert (tmp_path / "scene" / "summary.json").is_file()
