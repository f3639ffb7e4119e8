"""Made records of version 2 train a network of the first issue unchanged."""

import inspect
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


def test_recipes_take_version_1_unless_told(tmp_path):
  recipe = recipes.RECIPES["nano"]
  told = inspect.signature(train_all.train_all).parameters["version"].default
  for version in (told, 2):
    steps = list(train_all.making(recipe, tmp_path, version))
    assert len(steps) == len(recipe.records)
    for step in steps:
      assert step.command[-2:] == ("--version", str(version))
  assert told == 1


@pytest.mark.long
def test_a_whole_recipe_runs_on_them(tmp_path):
  """Records, five trainings, a bundle and a scene by one command."""
  train_all.train_all(recipe="nano", out=tmp_path, version=2)
  kinds = set()
  for name, records in recipes.RECIPES["nano"].records.items():
    opened = record_directory.open_records(tmp_path / "records" / name)
    assert len(opened) == records.count
    for index in range(len(opened)):
      assert (
        opened[index].decode(("source",))["source"].startswith("procedural 2, ")
      )
    kinds |= {opened[i].decode(("id",))["id"].split("-")[1] for i in range(4)}
  assert len(kinds) > 4
  assert (tmp_path / "scene" / "summary.json").is_file()
