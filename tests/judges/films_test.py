"""Films of generated scenes in VBench's layout, and its results."""

import json

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.cli import main
from more4d_jax.judges import films, vbench
from more4d_jax.viewing import video


def make_scene(folder, prompt="a ball rolls", frames=6, fps=8):
  folder.mkdir(parents=True)
  (folder / "summary.json").write_text(json.dumps({"prompt": prompt}))
  level = np.linspace(20, 220, frames).astype(np.uint8)
  shown = np.broadcast_to(level[:, None, None, None], (frames, 16, 24, 3))
  for name in ("static", "static_points", "orbit_left_90"):
    video.write_video(folder / f"{name}.mp4", shown, fps, quality=0)


def test_layout_rate_and_names(tmp_path, capsys):
  make_scene(tmp_path / "made" / "a", "a cat - 1 sits")
  make_scene(tmp_path / "made" / "b", "a ball rolls", frames=12, fps=16)
  out = tmp_path / "vbench"
  status = main.main(
    ["score", "vbench", "--results", str(tmp_path / "made"), "--out", str(out)]
  )
  assert status == 0
  prompts = json.loads((out / "prompts.json").read_text())
  names = {path.name for path in (out / "videos").iterdir()}
  assert (
    set(prompts)
    == names
    == {
      f"made_{scene}_{camera}.mp4"
      for scene in "ab"
      for camera in ("static", "orbit_left_90")
    }
  )
  assert prompts["made_a_static.mp4"] == "a cat - 1 sits"
  for name in names:
    frames, fps = video.read_video(out / "videos" / name)
    # Twelve frames at 16 a second last as long as six at 8.
    assert fps == 8 and frames.shape == (6, 16, 24, 3)
    assert (np.diff(frames[..., 0].mean((1, 2))) > 20).all()
  line = capsys.readouterr().out.splitlines()[-1]
  assert "--mode=custom_input" in line and f"--videos_path={out}" in line


@pytest.mark.parametrize("wanted", [4, 8, 10, 24])
def test_another_rate_shows_what_is_seen_then(wanted):
  frames = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(3, -1)
  found = films.at_rate(frames, 8.0, float(wanted))[:, 0, 0, 0]
  assert len(found) == round(12 * wanted / 8)
  middle = (np.arange(len(found)) + 0.5) / wanted
  np.testing.assert_array_equal(found, np.floor(middle * 8))


def test_results_are_read_beside_the_papers(tmp_path, capsys):
  first, second = tmp_path / "a_eval_results.json", tmp_path / "b.json"
  per_film = [{"video_path": "a.mp4", "video_results": 0.5}]
  first.write_text(json.dumps({"subject_consistency": [0.75, per_film]}))
  second.write_text(
    json.dumps({"dynamic_degree": [1.0, []], "temporal_style": [0.1, []]})
  )
  out = tmp_path / "means.json"
  arguments = ["--results", str(first), str(second), "--out", str(out)]
  assert main.main(["score", "vbench-results", *arguments]) == 0
  assert json.loads(out.read_text()) == {
    "subject_consistency": 0.75,
    "dynamic_degree": 1.0,
    "temporal_style": 0.1,
  }
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].split() == [
    "subject_consistency", "0.7500", "0.8752", "0.8241", "0.8339",
  ]  # fmt: skip
  assert lines[-1].split() == ["temporal_style", "0.1000"]


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("{", "expected VBench's results"),
    ('{"dynamic_degree": 1}', "expected VBench's results"),
    ('{"dynamic_degree": [NaN, []]}', "dynamic_degree"),
    ("{}", "any"),
  ],
)
def test_other_files_are_no_results(tmp_path, text, words):
  path = tmp_path / "results.json"
  path.write_text(text)
  with pytest.raises(errors.UserError, match=r"results\.json") as caught:
    vbench.read_results([path])
  assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_dimension_twice(tmp_path):
  for name in ("a.json", "b.json"):
    (tmp_path / name).write_text('{"dynamic_degree": [1, []]}')
  with pytest.raises(errors.UserError, match="dynamic_degree again"):
    vbench.read_results([tmp_path / "a.json", tmp_path / "b.json"])


def test_folders_without_films(tmp_path):
  with pytest.raises(errors.UserError, match="no such folder"):
    films.find([tmp_path / "none"])
  with pytest.raises(errors.UserError, match="expected scenes"):
    films.find([tmp_path])
  (tmp_path / "summary.json").write_text('{"prompt": "a"}')
  with pytest.raises(errors.UserError, match="--camera"):
    films.find([tmp_path])
  (tmp_path / "summary.json").write_text("[]")
  with pytest.raises(errors.UserError, match="with a prompt"):
    films.find([tmp_path])
