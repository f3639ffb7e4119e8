"""`more4d score tracks`: folders in TAPVid-3D's layout."""

import json

import numpy as np
import pytest

from more4d_jax import track_files
from more4d_jax.cli import main
from more4d_jax.evaluation import tapvid3d


def _write(folder, seed, spread=0.0):
  rng = np.random.default_rng(seed)
  points = rng.uniform(-1, 1, (4, 20, 3)) + np.array([0, 0, 3])
  points[..., 0] += spread
  visible = rng.random((4, 20)) < 0.7
  folder.mkdir(exist_ok=True)
  track_files.write(
    folder / f"{seed}.npz",
    track_files.Tracks(points.astype(np.float32), visible),
    np.array([50.0, 60, 32, 24]),
    np.zeros((20, 3)),
    np.zeros((4, 48, 64, 3), np.uint8),
  )


def _run(tmp_path, *more):
  folders = ["--predicted", str(tmp_path / "p"), "--true", str(tmp_path / "t")]
  return main.main(["score", "tracks", *folders, *more])


def test_figures_are_means_over_films(tmp_path, capsys):
  for seed, spread in ((1, 0.0), (2, 0.05)):
    _write(tmp_path / "t", seed)
    _write(tmp_path / "p", seed, spread)
  out = tmp_path / "figures.json"
  assert _run(tmp_path, "--out", str(out)) == 0
  report = json.loads(out.read_text())
  assert report["films"]["1.npz"]["average_jaccard"] == 1
  film = track_files.read_film(tmp_path / "t" / "2.npz")
  ours = track_files.read_tracks(tmp_path / "p" / "2.npz")
  focal = (50 * 60) ** 0.5 * 256 / 48
  expected = tapvid3d.figures(
    ours.positions,
    ours.visible,
    film.tracks.positions,
    film.tracks.visible,
    focal,
  )
  assert report["films"]["2.npz"] == pytest.approx(expected)
  assert report["figures"]["average_jaccard"] == pytest.approx(
    (1 + expected["average_jaccard"]) / 2
  )
  assert "average_jaccard" in capsys.readouterr().out


def test_mistakes(tmp_path, capsys):
  (tmp_path / "t").mkdir()
  assert _run(tmp_path) == 2
  assert "expected .npz files, found none" in capsys.readouterr().err
  _write(tmp_path / "t", 1)
  assert _run(tmp_path) == 2
  assert "the first 1.npz" in capsys.readouterr().err
  _write(tmp_path / "p", 1)
  film = dict(np.load(tmp_path / "p" / "1.npz"))
  film["tracks_XYZ"], film["visibility"] = (
    np.ones((4, 9, 3)),
    np.ones((4, 9), bool),
  )
  np.savez(tmp_path / "p" / "1.npz", **film)
  assert _run(tmp_path) == 2
  assert "predict its own points" in capsys.readouterr().err
