"""`more4d ablate`: its rows, what they share, its table.

A run at size nano is in tests/end_to_end_test.py.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
import scipy.stats

from more4d_jax.cli import ablate, ablation_rows, ablation_table, main, plan
from tests import repo_test

_ROWS = {row.name: row for row in ablation_rows.ROWS}


def _config(row, task):
  return plan.read_config(ablate._config_file(row, task, "nano"), [])


@pytest.mark.parametrize("name", _ROWS)
def test_a_row_differs_from_the_full_method_in_its_tasks_alone(name):
  row = _ROWS[name]
  for task in ("motion_vae", "strag"):
    same = _config(row, task) == _config(ablation_rows.BASELINE, task)
    assert same == (task not in row.tasks)


def test_the_paper_of_each_row_is_that_of_the_config_file():
  row = _ROWS["min_max"]
  found = _config(row, "strag").motion.normalisation
  assert found == _config(row, "motion_vae").motion.normalisation
  assert (found, row.paper) == ("first_frame_range", 0.8604)
  assert not _config(
    _ROWS["without_depth_latents"], "strag"
  ).model.use_depth_latents


def test_the_guide_has_the_rows():
  page = repo_test.ROOT / "docs" / "ablations.md"
  assert ablation_rows.guide() in page.read_text()


def _measured(errors):
  errors = np.array(errors, np.float64)
  return ablation_table.Measured(
    errors, np.full(errors.shape[1], 2.0), np.array([0.5, 1.0])
  )


def test_the_table_says_means_spreads_and_a_paired_test():
  rng = np.random.default_rng(0)
  base = rng.uniform(0.5, 1.5, (2, 12))
  worse = base + rng.uniform(0.1, 0.2, (2, 12))
  rows = [_ROWS["full"], _ROWS["without_depth_latents"]]
  full, other = ablation_table.report(
    {"full": _measured(base), "without_depth_latents": _measured(worse)}, rows
  )
  assert full["relative"] == pytest.approx(base.mean() / 2)
  spread = abs(base[0].mean() - base[1].mean()) / 2 / np.sqrt(2)
  assert full["spread"] == pytest.approx(spread)
  assert other["change"] == pytest.approx(worse.mean() / base.mean() - 1)
  expected = scipy.stats.wilcoxon(worse.mean(0), base.mean(0)).pvalue
  assert other["p"] == pytest.approx(expected) and expected < 0.01
  assert other["order_of_paper"] == "shows" and other["right_side"] == 0.75
  better = dataclasses.replace(_measured(base), errors=2 * base - worse)
  table = {"full": _measured(base), "without_depth_latents": better}
  *_, changed = ablation_table.report(table, rows)
  assert changed["order_of_paper"] == "opposite"
  text = ablation_table.markdown([full, changed], "Made so.")
  assert "opposite" in text and "| .8567" in text.replace("0.8567", ".8567")
  even = dataclasses.replace(_measured(base), errors=base[:, ::-1])
  table = {"full": _measured(base), "without_depth_latents": even}
  *_, changed = ablation_table.report(table, rows)
  assert changed["order_of_paper"] == "not settled"


@pytest.mark.parametrize(
  ("more", "words"),
  [
    (("--size", "14b"), "expected a size of mini, nano"),
    (("--steps", "0"), "--steps"),
    (("--rows", "half"), "found half"),
  ],
)
def test_mistakes(tmp_path, capsys, more, words):
  flags = {"--size": "nano", "--steps": "2", "--out": str(tmp_path / "out")}
  flags |= {more[0]: more[1]}
  arguments = [word for pair in flags.items() for word in pair]
  assert main.main(["ablate", *arguments]) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: ") and words in err and err.count("\n") == 1
  assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_budget(tmp_path, capsys):
  (tmp_path / "budget.json").write_text('{"size": "tiny", "steps": 9}')
  arguments = ["--size", "nano", "--steps", "2", "--out", str(tmp_path)]
  assert main.main(["ablate", *arguments]) == 2
  assert "of size tiny and 9 steps" in capsys.readouterr().err


@pytest.fixture
def trained(monkeypatch):
  """Configurations by workdir, of trainings that leave a network at once."""
  found = {}

  def train(mode, config, workdir):
    assert mode == "train"
    found[str(workdir)] = config
    (workdir / "model").mkdir(parents=True)
    (workdir / "model" / "network.json").write_text("{}")

  def compare(motion_vae, workdir, examples):
    error = [1.0 + len(workdir.parent.name) for _ in examples]
    return {"error": error, "still": [2.0] * len(error), "right_side": None}

  monkeypatch.setattr(ablate.run, "run", train)
  monkeypatch.setattr(ablate, "_compare", compare)
  monkeypatch.setattr(ablate, "_examples", lambda size, count: [{}] * count)
  monkeypatch.setattr(ablate.train_all, "do", lambda step: None)
  monkeypatch.setattr(jax, "clear_caches", lambda: None)
  return found


def test_rows_share_what_they_have_in_common(trained, tmp_path, capsys):
  arguments = ["ablate", "--size", "nano", "--steps", "5", "--seeds", "2"]
  arguments += ["--scenes", "3", "--out", str(tmp_path)]
  assert main.main(arguments) == 0, capsys.readouterr().err
  config_of = {
    pathlib.Path(name).relative_to(tmp_path).as_posix(): config
    for name, config in trained.items()
  }
  own = {row.name for row in _ROWS.values() if "motion_vae" in row.tasks}
  assert own == {"min_max", "none", "fixed_trajectory_encoder"}
  by_task = {
    task: {n for n, config in config_of.items() if config.task == task}
    for task in ("video_vae", "motion_vae", "strag")
  }
  assert by_task["strag"] == {f"{n}/seed_{s}" for n in _ROWS for s in range(2)}
  folders = {name.partition("/")[0] for name in by_task["motion_vae"]}
  assert folders == own | {"full"}
  assert not {name.partition("/")[0] for name in by_task["video_vae"]} & set(
    _ROWS
  )
  for name in by_task["strag"]:
    row, seed = name.split("/seed_")
    config = config_of[name]
    source = row if row in own else "full"
    below = pathlib.Path(config.init_from.motion_vae).relative_to(tmp_path)
    assert below.as_posix() in by_task["motion_vae"]
    assert below.parts[0] == source
    assert config.data.cache == str(tmp_path / "cache")
    assert (config.seed, config.num_steps) == (int(seed), 5)
  text = (tmp_path / "ablations.json").read_text()
  rows = json.loads(text)["rows"]
  assert [row["row"] for row in rows] == list(_ROWS)
  # Again: nothing is trained but what is not there.
  trained.clear()
  (tmp_path / "min_max" / "seed_1" / "model" / "network.json").unlink()
  (tmp_path / "min_max" / "seed_1" / "model").rmdir()
  assert main.main(arguments) == 0
  assert list(trained) == [str(tmp_path / "min_max" / "seed_1")]
  assert (tmp_path / "ablations.json").read_text() == text
