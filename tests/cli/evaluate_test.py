"""`more4d evaluate`: bounds, and the joining of records, networks, metrics."""

import json

import numpy as np
import pytest

from more4d_jax.checkpoints import store
from more4d_jax.cli import evaluate, main
from more4d_jax.lora import dialects
from tests.lora import requests_test as lora_requests_test


def test_bounds_in_both_directions():
  lines = evaluate.check_bounds(
    {
      "motion64": {"relative": 0.6, "follows_caption": 0.5},
      "vism": {"hole_psnr": 20.0, "nearest_hole_psnr": 18.0},
      "depth": {"images": 3.0},
    }
  )
  assert [line.split()[:2] for line in lines] == [
    ["reached", "motion64/relative"],
    ["MISSED", "motion64/follows_caption"],
    ["reached", "vism/hole_psnr"],
  ]


@pytest.mark.parametrize(
  ("more", "words"),
  [
    (("--split", "validation"), "motion64"),
    (("--scenes", "0"), "--scenes"),
    (("--out", "nowhere/at/all.json"), "nowhere"),
    (("--lora", "nowhere.safetensors"), "nowhere"),
  ],
)
def test_mistakes(nano_checkpoint, capsys, more, words):
  arguments = ["evaluate", "--checkpoint", str(nano_checkpoint), *more]
  assert main.main(arguments) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: ") and words in err and err.count("\n") == 1


@pytest.mark.slow
def test_all_figures_of_a_nano_checkpoint(nano_checkpoint, tmp_path, capsys):
  out = tmp_path / "figures.json"
  dit = store.load_network(nano_checkpoint / "vism").params["dit"]
  made = lora_requests_test.random_lora(dit)
  dialects.save(tmp_path / "l.safetensors", made, "comfyui")
  status = main.main(
    [
      "evaluate", "--checkpoint", str(nano_checkpoint), "--out", str(out),
      "--scenes", "3", "--kind-scenes", "1", "--training-scenes", "4",
      "--batch", "2", "--videos", str(tmp_path / "videos"),
      "--lora", f"{tmp_path}/l.safetensors:0.1",
    ]
  )  # fmt: skip
  printed = capsys.readouterr()
  assert status == 0, printed.err
  report = json.loads(out.read_text())
  figures = report["figures"]
  assert {"motion64", "motion_vae", "depth", "vism"} <= set(figures)
  assert figures["motion64"]["scenes"] == 3
  # The oracle shares picture and caption, so it beats standing still.
  assert figures["motion64"]["oracle_relative"] < 1
  assert 0 < figures["vism"]["hole_share"] < 1
  assert np.isfinite(figures["vism"]["hole_psnr"])
  assert len(report["bounds"]) == 6
  assert report["loras"]["vism"][0]["modules"] == len(made.modules)
  assert "motion64/relative" in printed.out
  assert (tmp_path / "videos" / "motion64_0.mp4").is_file()


@pytest.mark.slow
def test_the_chain_of_a_user_is_measured(nano_checkpoint, tmp_path):
  out = tmp_path / "figures.json"
  status = main.main(
    [
      "evaluate", "--checkpoint", str(nano_checkpoint), "--out", str(out),
      "--split", "public200", "--scenes", "2", "--batch", "2",
    ]
  )  # fmt: skip
  assert status == 0
  report = json.loads(out.read_text())
  assert list(report["figures"]) == ["chain"]
  figures = report["figures"]["chain"]
  assert 0 < figures["scenes"] <= 2
  for name in ("motion_relative", "true_depth_relative", "depth_error_scaled"):
    assert figures[name] > 0, name
  assert -1 <= figures["direction"] <= 1
  assert 0 <= figures["average_jaccard"] <= figures["points_within"] <= 1
  low, high = report["intervals"]["chain"]["motion_relative"]
  assert low <= figures["motion_relative"] <= high
