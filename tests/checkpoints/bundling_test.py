"""Bundles whose weights are stored in another type, and what they tell."""

import json

import jax
import numpy as np
import pytest

from more4d_jax import pipeline
from more4d_jax.checkpoints import bundling, store
from more4d_jax.cli import main
from more4d_jax.name_maps import matching


def _size(folder):
  return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_weights_are_rounded_and_nothing_else_changes(
  nano_checkpoint, tmp_path
):
  out = tmp_path / "half"
  bundling.bundle([nano_checkpoint], out, np.dtype(np.float16), {"a": 1})
  assert store.about(out) == {"a": 1} and not store.about(nano_checkpoint)
  assert _size(out) < 0.7 * _size(nano_checkpoint)
  before, after = (store.open_bundle(d) for d in (nano_checkpoint, out))
  assert list(before) == list(after)
  for kind, network in before.items():
    assert after[kind].config == network.config
    assert after[kind].metadata.get("sampling") == network.metadata.get(
      "sampling"
    )
    found = matching.flatten(after[kind].params)
    for path, array in matching.flatten(network.params).items():
      assert found[path].dtype == np.float16, path
      np.testing.assert_array_equal(
        np.asarray(found[path]), np.asarray(array).astype(np.float16)
      )


def test_rounded_networks_are_others_and_still_belong_together(
  nano_checkpoint, tmp_path
):
  """Who was trained on whom stays, under names that say the type."""
  base = tmp_path / "base"
  found = store.open_bundle(nano_checkpoint)
  for kind, facts in (
    ("video_vae", {"identity": "v"}),
    ("motion_vae", {"identity": "m", "trained_on": {"video_vae": "v"}}),
  ):
    network = found[kind]
    params = jax.tree.map(np.asarray, network.params)
    metadata = {**network.metadata, **facts}
    store.save_network(base / kind / "model", params, network.config, metadata)
  workdirs = [base / "video_vae", base / "motion_vae"]
  out = tmp_path / "half"
  bundling.bundle(workdirs, out, np.dtype(np.float16))
  after = store.open_bundle(out)
  assert after["video_vae"].metadata["identity"] == "v-float16"
  assert after["motion_vae"].metadata["identity"] == "m-float16"
  assert after["motion_vae"].metadata["trained_on"] == {
    "video_vae": "v-float16"
  }
  bundling.bundle([out], tmp_path / "again")  # Their lineage is checked.


@pytest.mark.slow
def test_scenes_of_rounded_weights_are_nearly_the_same(
  nano_checkpoint, tmp_path
):
  out = tmp_path / "half"
  bundling.bundle([nano_checkpoint], out, np.dtype(np.float16))
  picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
  exact, rounded = (
    pipeline.load(place)(picture, "a ball rolls", size="model").tracks
    for place in (nano_checkpoint, out)
  )
  assert rounded.dtype == exact.dtype
  # Half an ulp of float16 through every layer; random weights amplify it.
  np.testing.assert_allclose(rounded, exact, rtol=0.05, atol=0.02)
  assert not np.array_equal(rounded, exact)


def test_figures_stand_beside_those_of_the_bundle_that_is_replaced(
  nano_checkpoint, tmp_path, capsys
):
  out, figures = tmp_path / "out", tmp_path / "figures.json"

  def bundle(value):
    report = {"split": "public200", "figures": {"chain": {"relative": value}}}
    figures.write_text(json.dumps(report))
    arguments = ["--workdir", str(nano_checkpoint), "--out", str(out)]
    more = ["--figures", str(figures), "--dtype", "bfloat16"]
    assert main.main(["bundle", *arguments, *more]) == 0
    return capsys.readouterr().out.split("\n")

  row = bundle(0.9)[1].split()
  assert row == ["chain/relative", "0.9", "-"]
  row = bundle(0.8)[1].split()
  assert row == ["chain/relative", "0.8", "0.9"]
  assert store.about(out)["figures"] == {"chain": {"relative": 0.8}}
  figures.write_text('{"figures": [1]}')
  arguments = ["--workdir", str(nano_checkpoint), "--out", str(out)]
  assert main.main(["bundle", *arguments, "--figures", str(figures)]) == 2
  assert "expected figures in" in capsys.readouterr().err
  assert store.about(out)["figures"] == {"chain": {"relative": 0.8}}
