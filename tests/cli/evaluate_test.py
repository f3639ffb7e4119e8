"""`more4d evaluate`: bounds, and the joining of records, networks, metrics."""

import hashlib
import json

import numpy as np
import pytest
from safetensors import numpy

from data_pipelines.procedural import splits
from more4d_jax.checkpoints import store
from more4d_jax.cli import evaluation_report, main
from more4d_jax.lora import dialects
from tests.evaluation import lpips_test
from tests.lora import requests_test as lora_requests_test


def test_bounds_in_both_directions():
  lines = evaluation_report.check_bounds(
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
    (("--out", "figures.md"), "another ending than .md"),
    (("--samples", "2"), "expected --split public200"),
    (("--split", "public200", "--samples", "0"), "--samples of at least 1"),
    (("--split", "public200", "--depth-noise", "1,much"), "found 'much'"),
    (("--lpips", "nowhere.pth"), "nowhere.pth"),
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
def test_motion_is_measured_in_scenes_like_photographs(
  nano_checkpoint, tmp_path
):
  out = tmp_path / "figures.json"
  status = main.main(
    [
      "evaluate", "--checkpoint", str(nano_checkpoint), "--out", str(out),
      "--split", "photographic", "--scenes", "2", "--batch", "2",
    ]
  )  # fmt: skip
  assert status == 0
  report = json.loads(out.read_text())
  assert list(report["figures"]) == ["motion64v3", "chain"]
  assert report["figures"]["motion64v3"]["scenes"] == 2
  assert report["figures"]["motion64v3"]["oracle_relative"] < 1
  assert report["figures"]["motion64v3"]["true_mean_jerk"] > 0  # No NaN of sky.
  assert report["scenes"]["motion64v3"][0] == splits.SPLITS["motion64v3"].start


@pytest.mark.slow
def test_the_chain_of_a_user_is_measured(nano_checkpoint, tmp_path):
  out, weights = tmp_path / "figures.json", tmp_path / "alex.safetensors"
  numpy.save_file(lpips_test.random_tensors("alex"), weights)
  status = main.main(
    [
      "evaluate", "--checkpoint", str(nano_checkpoint), "--out", str(out),
      "--split", "public200", "--scenes", "2", "--batch", "2",
      "--samples", "2", "--depth-noise", "1,2", "--cameras", "2",
      "--lpips", str(weights),
    ]
  )  # fmt: skip
  assert status == 0
  report = json.loads(out.read_text())
  groups = report["figures"]
  assert list(groups) == [
    "chain", "samples", "depth_noise/1", "depth_noise/2", "films"
  ]  # fmt: skip
  figures = groups["chain"]
  assert 0 < figures["scenes"] <= 2
  for name in ("motion_relative", "true_depth_relative", "depth_error_scaled"):
    assert figures[name] > 0, name
  assert -1 <= figures["direction"] <= 1
  assert 0 <= figures["average_jaccard"] <= figures["points_within"] <= 1
  low, high = report["intervals"]["chain"]["motion_relative"]
  assert low <= figures["motion_relative"] <= high
  assert groups["samples"]["diversity"] > 0
  errors = [groups[f"depth_noise/{n}"]["depth_error"] for n in (1, 2)]
  assert min(errors) > 0 and errors[0] != errors[1]
  assert groups["films"]["scenes"] == 2 and groups["films"]["lpips"] > 0
  assert {"seen_ssim", "hole_psnr", "path_difference"} <= set(groups["films"])
  digest = hashlib.sha256(weights.read_bytes()).hexdigest()
  assert report["hashes"][str(weights)] == digest
  assert report["scenes"] == {"public200": [211_000_000, 2]}
  table = out.with_suffix(".md").read_text()
  value = figures["motion_relative"]
  assert f"| chain | `motion_relative` | {value:.4g} | [{low:.4g}, " in table
  assert digest in table and "2, from seed 211000000 on" in table


def test_what_is_not_measured_says_why():
  figures = {"psnr": 20.0, "lpips": float("nan")}
  text = evaluation_report.markdown(
    {
      "checkpoint": "c", "split": "public200", "seed": 0, "scenes": {},
      "versions": {}, "hashes": {}, "figures": {"films": figures},
      "intervals": {}, "bounds": [],
    }
  )  # fmt: skip
  assert "| `lpips` | not measured: no weights, see --lpips |  |" in text
  assert "| `psnr` | 20 |" in text
