"""The runner on a folder made here: what passes, fails, counts and exits."""

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from tests.parity import runner

_BOUNDS = {
  "bound": {"toy": 1e-3},
  "gradient_bound": 1e-2,
  "images": {"keys": "toy/out\\.image.*"},
  "diagnostic": ["[^/]*/mid\\..*"],
  "out_of_scope": {
    "toy/out\\..*sample$": "unless the noise is stored: then required",
    "toy/out\\.unused": "nothing uses it",
  },
}


@pytest.fixture
def directory(tmp_path):
  image = np.zeros((2, 10, 20, 3), np.float32)
  image[:, 3, 4] = 1.0
  stored = {
    "in.drawn.eps": np.ones(2, np.float32),
    "out.main": np.array([1.0, np.nan, np.inf], np.float32),
    "out.count": np.array([3, 4]),
    "out.drawn.sample": np.ones(2, np.float32),
    "out.other.sample": np.ones(2, np.float32),
    "out.unused": np.ones(2, np.float32),
    "out.image": image,
    "grad.main": np.ones(2, np.float32),
    "mid.main": np.ones(2, np.float32),
  }
  (tmp_path / "toy").mkdir()
  safetensors_numpy.save_file(stored, tmp_path / "toy" / "io.safetensors")
  (tmp_path / "bounds.json").write_text(json.dumps(_BOUNDS))
  return tmp_path


def _good():
  image = np.zeros((2, 10, 20, 3))
  image[:, 3, 4] = 1.0
  image[0, 5, 5, :2] = 1.0  # One of 400 pixels may differ.
  return {
    "out.main": np.array([1.0005, np.nan, np.inf]),
    "out.count": np.array([3, 4]),
    "out.drawn.sample": np.ones(2),
    "out.image": image,
    "grad.main": np.array([1.0, 1.005]),
    "mid.main": np.zeros(2),
  }


def _run(directory, results, capsys):
  code = runner.run_directory(
    directory, adapter=lambda folder: lambda path: results
  )
  return code, capsys.readouterr().out.splitlines()


def test_all_required_keys_within_bounds(directory, capsys):
  code, lines = _run(directory, _good(), capsys)
  assert code == 0
  assert lines[-1] == "passed 5 failed 0 not-run 0"
  assert any("toy/mid.main" in x and "FAIL (diagnostic)" in x for x in lines)
  assert not any("unused" in x or "other.sample" in x for x in lines)
  main = next(x for x in lines if x.startswith("toy/out.main "))
  assert main.split()[3:] == ["0.001", "PASS"]


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("out.main", np.array([1.002, np.nan, np.inf])),
    ("out.main", np.array([1.0, 0.0, np.inf])),
    ("out.main", np.array([1.0, np.nan, -np.inf])),
    ("out.main", np.array([1.0, np.nan])),
    ("out.count", np.array([3, 5])),
    ("grad.main", np.array([1.0, 1.02])),
    ("out.image", np.zeros((2, 10, 20, 3)) + np.ones(3)),
  ],
)
def test_a_wrong_value_fails(directory, capsys, key, value):
  code, lines = _run(directory, {**_good(), key: value}, capsys)
  assert code == 1
  assert lines[-1] == "passed 4 failed 1 not-run 0"


def test_a_missing_key_is_not_run(directory, capsys):
  results = _good()
  del results["out.drawn.sample"]
  code, lines = _run(directory, results, capsys)
  assert code == 1
  assert "toy/out.drawn.sample nan nan 0.001 NOT-RUN" in lines
  code = runner.run_directory(directory, adapter=lambda folder: None)
  assert code == 1
  assert capsys.readouterr().out.endswith("failed 0 not-run 5\n")


def test_extra_results_and_empty_directories(directory, capsys):
  extra = {**_good(), "out.case_of_another_folder": np.ones(1)}
  code, lines = _run(directory, extra, capsys)
  assert (code, lines[-1]) == (0, "passed 5 failed 0 not-run 0")
  assert runner.run_directory(directory, only=("absent",)) == 2


def test_a_folder_that_raises_fails_and_the_others_run(directory, capsys):
  for name in ("a_first", "z_last"):
    (directory / name).mkdir()
    stored = {"out.main": np.ones(1, np.float32)}
    safetensors_numpy.save_file(stored, directory / name / "io.safetensors")

  def adapter(name):
    if name == "a_first":
      return lambda folder: folder.no_such_attribute
    return lambda folder: _good()

  assert runner.run_directory(directory, adapter=adapter) == 1
  found = capsys.readouterr()
  lines = found.out.splitlines()
  assert lines[0] == "a_first nan nan nan FAIL"
  assert "no_such_attribute" in found.err
  # Nothing says how close the values of the last folder must be.
  assert lines[-2] == "z_last nan nan nan FAIL"
  assert lines[-1] == "passed 5 failed 2 not-run 0"


def test_what_cancels_is_judged_against_its_terms(directory, capsys):
  for gap, code in ((1e-3, 0), (1e-1, 1)):
    cancelling = runner.Cancelling(np.array([1.0, 1.0 + gap]), size=5.0)
    results = {**_good(), "grad.main": cancelling}
    assert _run(directory, results, capsys)[0] == code


def test_manifests_are_a_line_each(directory, capsys):
  shapes = {"conv_in.weight": [32, 3, 3, 3], "conv_in.bias": [32]}
  for name in ("norm_out.weight", "norm_out.bias"):
    shapes[name] = [32]
  shapes |= {"conv_out.weight": [3, 32, 3, 3], "conv_out.bias": [3]}
  for i in (1, 2):
    block = "down.0.block.0."
    for kind in ("weight", "bias"):
      shapes[f"{block}norm{i}.{kind}"] = [32]
    shapes[f"{block}conv{i}.weight"] = [32, 32, 3, 3]
    shapes[f"{block}conv{i}.bias"] = [32]
  folder = directory / "manifest"
  folder.mkdir()
  whole = folder / "trajectory_encoder_small.json"
  whole.write_text(json.dumps({"tensors": shapes}))
  code = runner.run_directory(directory, only=("manifest",))
  assert code == 0
  out = capsys.readouterr().out.splitlines()
  assert out[0].startswith("manifest/trajectory_encoder_small 0 0 0 PASS")
  wrong = {**shapes, "conv_in.bias": [33]}
  del wrong["conv_out.bias"]
  whole.write_text(json.dumps({"tensors": wrong}))
  (folder / "unheard_of.json").write_text(json.dumps({"tensors": {}}))
  assert runner.run_directory(directory, only=("manifest",)) == 1
  found = capsys.readouterr()
  assert "conv_out.bias" in found.err
  assert "conv_in.bias (33,) instead of (32,)" in found.err
  assert found.out.endswith("passed 0 failed 1 not-run 1\n")
