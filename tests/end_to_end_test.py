"""A whole recipe at size nano, and the notebooks that show its results.

Records, trainings, bundle and scene are made once, by the fixture.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from more4d_jax import scene
from more4d_jax.cli import recipes, train_all
from more4d_jax.viewing import video
from tests import notebook_runs

pytestmark = pytest.mark.slow


def test_every_task_leaves_a_network_and_its_figures(nano_run: pathlib.Path):
  for task in recipes.TASKS:
    kind = json.loads((nano_run / task / "model" / "network.json").read_text())
    assert kind["kind"] == task
    lines = (nano_run / task / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 2
    assert np.isfinite(losses).all()


def test_scene_files_hold_the_photograph_moving(nano_run: pathlib.Path):
  made = scene.Scene.load(nano_run / "scene" / "scene.npz")
  # The picture's size, the model's frames.
  assert made.tracks.shape == (5, *made.colours.shape[:2], 3)
  assert made.metadata["model_grid"]["size"] == [32, 48]
  assert np.isfinite(made.tracks).all()
  frames, _ = video.read_video(nano_run / "scene" / "static.mp4")
  assert len(frames) == 5
  assert "<html" in (nano_run / "scene" / "scene.html").read_text()[:2000]
  summary = json.loads((nano_run / "scene" / "summary.json").read_text())
  assert summary["reprojection_error"] < 1e-3  # Pixels; issue's own bound.


def test_finished_recipe_runs_nothing_again(
  nano_run: pathlib.Path, capsys: pytest.CaptureFixture
):
  recipe = recipes.RECIPES["nano"]
  train_all.train_all(recipe="nano", out=nano_run)
  printed = capsys.readouterr().out
  steps = len(recipe.records) + len(recipe.stages) + 2
  assert printed.count("done before") == steps


def test_unknown_recipe_is_one_line(tmp_path: pathlib.Path):
  command = [sys.executable, "-m", "more4d_jax.cli.main", "train-all"]
  done = subprocess.run(
    [*command, "--recipe", "huge", "--out", str(tmp_path / "out")],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr.strip().startswith("error: expected a recipe of")
  assert len(done.stderr.strip().splitlines()) == 1
  assert not (tmp_path / "out").exists()


def test_image_to_4d_notebook(nano_run: pathlib.Path, tmp_path: pathlib.Path):
  notebook = notebook_runs.execute(
    "image_to_4d",
    {
      "CHECKPOINT": str(nano_run / "bundle"),
      "CAMERAS": ["static"],
      "STEPS": 2,
      "OUT": str(tmp_path / "out"),
    },
    tmp_path,
  )
  names = {path.name for path in (tmp_path / "out").iterdir()}
  assert names == {"scene.npz", "scene.html"}
  assert "text/html" in set(notebook_runs.shown(notebook))  # The viewer.


def test_train_tiny_notebook(nano_run: pathlib.Path, tmp_path: pathlib.Path):
  # The recipe is finished, so the notebook finds and shows its results.
  notebook = notebook_runs.execute(
    "train_tiny", {"RECIPE": "nano", "OUT": str(nano_run)}, tmp_path
  )
  assert "image/png" in set(notebook_runs.shown(notebook))
