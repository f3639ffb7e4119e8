"""A whole recipe at size nano, and the notebooks that show its results.

Records, trainings, bundle and scene are made once, by the fixture.
"""

import json
import os
import pathlib
import subprocess
import sys

import nbformat
import numpy as np
import pytest

from more4d_jax import scene
from more4d_jax.cli import main, recipes, train_all
from more4d_jax.viewing import video
from tests import notebook_runs, quick_compilation

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


def test_unknown_recipe_is_one_line(
  tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
):
  out = tmp_path / "out"
  arguments = ["train-all", "--recipe", "huge", "--out", str(out)]
  assert main.main(arguments) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith("error: expected a recipe of")
  assert not out.exists()


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


@pytest.fixture(scope="module")
def ablations(nano_run: pathlib.Path, tmp_path_factory):
  """Ablations of one row, for which the recipe has made the rest."""
  out = tmp_path_factory.mktemp("ablations")
  (out / "records").symlink_to(nano_run / "records")
  recipe = recipes.RECIPES["nano"]
  for stage in recipe.stages:
    if stage.task in ("video_vae", "motion_vae"):
      folder = "full" if stage.task == "motion_vae" else ""
      (out / folder).mkdir(exist_ok=True)
      (out / folder / stage.name).symlink_to(nano_run / stage.name)
  command = [
    sys.executable, "-m", "more4d_jax.cli.main", "ablate", "--size", "nano",
    "--steps", "2", "--seeds", "1", "--scenes", "4", "--out", str(out),
    "--rows", "full",
  ]  # fmt: skip
  done = subprocess.run(
    command,
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "XLA_FLAGS": quick_compilation.flags()},
  )
  assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
  assert done.stdout.count("steps\n") == 1  # 4D-STraG is trained, no more.
  return out


def test_a_row_of_the_ablations_is_trained_and_compared(
  ablations: pathlib.Path,
):
  (row,) = json.loads((ablations / "ablations.json").read_text())["rows"]
  assert row["row"] == "full" and 0 < row["relative"] < 50
  assert "| full method |" in (ablations / "ablations.md").read_text()
  cached = list((ablations / "cache").iterdir())
  assert len(cached) == 2  # Latents of training and held-out records.


def test_ablations_notebook(ablations: pathlib.Path, tmp_path: pathlib.Path):
  text = (ablations / "ablations.json").read_text()
  notebook = notebook_runs.execute(
    "ablations",
    {
      "SIZE": "nano",
      "STEPS": 2,
      "SEEDS": 1,
      "SCENES": 4,
      "ROWS": ["full"],
      "OUT": str(ablations),
    },
    tmp_path,
  )
  assert {"text/markdown", "image/png"} <= set(notebook_runs.shown(notebook))
  # All of it was there.
  assert "steps\\n" not in nbformat.writes(notebook)
  assert (ablations / "ablations.json").read_text() == text
