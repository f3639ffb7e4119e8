"""The notebooks: what they install, and those that need no trained networks.

Each is executed at size nano in a folder without the repository.
"""

import glob
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest

from tests import notebook_runs
from tests.published import released


def _installation():
  """The source of the first cell of code, which all notebooks share."""
  found = set()
  for name in notebook_runs.NAMES:
    cells = notebook_runs.read(name).cells
    found.add(next(c.source for c in cells if c.cell_type == "code"))
  (source,) = found
  return source


def test_the_five_notebooks_are_there():
  assert notebook_runs.NAMES == [
    "ablations",
    "explore_records",
    "image_to_4d",
    "released_weights",
    "train_tiny",
  ]


@pytest.mark.parametrize(
  ("driver", "device", "extras", "more"),
  [
    ("", "", "demo,convert", []),
    ("580.65.06", "", "demo,convert,gpu", []),
    ("550.54.15", "", "demo,convert", ["jax[cuda12]"]),
    ("", "/dev/vfio/0", "demo,convert,tpu", []),
    ("", "/dev/accel0", "demo,convert,tpu", []),
  ],
)
def test_the_first_cell_installs_for_the_runtime(
  tmp_path, monkeypatch, driver, device, extras, more
):
  commands = []

  def run(command, **_):
    commands.append([str(word) for word in command])
    return types.SimpleNamespace(stdout=f"{driver}\n")

  def has(pattern):
    return [device] if pathlib.PurePath(device).match(pattern) else []

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  monkeypatch.setattr(shutil, "which", lambda name: driver or None)
  monkeypatch.setattr(glob, "glob", has)
  monkeypatch.setattr(subprocess, "run", run)
  monkeypatch.setattr(sys, "path", list(sys.path))
  known = {}
  exec(_installation(), known)
  clone = str(tmp_path / "more4d_jax")
  assert sys.path[0] == clone
  cloning, installing = commands[-2:]
  assert cloning[:2] == ["git", "clone"]
  assert cloning[-2:] == [known["CLONE_URL"], clone]
  assert installing[-2 - len(more) :] == [
    "--editable",
    f"{clone}[{extras}]",
    *more,
  ]


def test_the_first_cell_installs_nothing_where_the_package_is(monkeypatch):
  def run(*_, **__):
    raise AssertionError("nothing is to be run")

  monkeypatch.setattr(subprocess, "run", run)
  exec(_installation(), {})


@pytest.mark.slow
def test_explore_records(tmp_path):
  notebook = notebook_runs.execute(
    "explore_records",
    {"COUNT": 2, "FRAMES": 5, "HEIGHT": 32, "WIDTH": 48, "OUT": "records"},
    tmp_path,
  )
  assert "text/html" in set(notebook_runs.shown(notebook))
  assert (tmp_path / "records" / "records.mp4").is_file()


@pytest.mark.slow
def test_released_weights(tmp_path):
  released.write(tmp_path / "release")
  np.save(tmp_path / "depth.npy", np.full((400, 600), 2.0, np.float32))
  notebook = notebook_runs.execute(
    "released_weights",
    {
      "FOLDERS": [
        f"release/{name}" for name in ("4D-STraG", "VAE", "Wan2.1-Fun-InP")
      ],
      "DTYPE": "float32",
      "CLIP": {"frames": 5, "height": 32, "width": 48},
      "DEVICES": "cpu-1",
      "DEPTH": "depth.npy",
      "CAMERA": "static",
      "MORE": ["--steps", 2, "--guidance", 1.0],
      "OUT": "out",
    },
    tmp_path,
  )
  assert "text/html" in set(notebook_runs.shown(notebook))
  assert (tmp_path / "out" / "static.mp4").is_file()
