"""Networks and bundles on disk: exact, whole, and clear when damaged."""

import dataclasses
import json

import numpy as np
import pytest

from more4d_jax import errors, registry
from more4d_jax.checkpoints import bundling, configurations, store
from more4d_jax.models import variants, video_vae

_PARAMS = {
  "encoder": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)},
  "decoder": {"b": np.float32([1.5])},
}


def _save(directory, kind="video_vae", **metadata):
  config = getattr(variants.get("nano"), kind)
  store.save_network(directory, _PARAMS, config, metadata)


def test_network_is_read_back_exactly(tmp_path):
  _save(tmp_path / "model", size="nano", stats=[1.0, 2.5])
  found = store.load_network(tmp_path / "model")
  assert found.kind == "video_vae"
  assert found.config == variants.get("nano").video_vae
  assert found.metadata == {"size": "nano", "stats": [1.0, 2.5]}
  np.testing.assert_array_equal(
    found.params["encoder"]["w"], _PARAMS["encoder"]["w"]
  )


@pytest.mark.parametrize("kind", list(registry.NETWORKS))
@pytest.mark.parametrize("size", ["nano", "14b"])
def test_every_configuration_survives_json(kind, size):
  config = getattr(variants.get(size), kind)
  text = json.dumps(dataclasses.asdict(config))
  cls = registry.NETWORKS[kind].config_class
  assert configurations.from_json(cls, json.loads(text)) == config


def test_saving_again_replaces(tmp_path):
  _save(tmp_path / "model", step=1)
  _save(tmp_path / "model", step=2)
  assert store.load_network(tmp_path / "model").metadata == {"step": 2}
  assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_network_does_not_tell_where_it_was_written(tmp_path):
  _save(tmp_path / "model")
  files = [p for p in tmp_path.rglob("*") if p.is_file()]
  assert len(files) > 3
  for path in files:
    assert str(tmp_path).encode() not in path.read_bytes(), path


def test_fingerprint_changes_with_any_weight():
  other = {**_PARAMS, "decoder": {"b": np.float32([1.5000001])}}
  mine = store.fingerprint(_PARAMS, {"gain": 1.0})
  assert mine != store.fingerprint(other, {"gain": 1.0})
  assert mine != store.fingerprint(_PARAMS, {"gain": 2.0})
  assert mine == store.fingerprint(dict(_PARAMS), {"gain": 1.0})


def test_absent_and_damaged_networks_are_one_clear_line(tmp_path):
  with pytest.raises(errors.UserError, match="found no network"):
    store.load_network(tmp_path)
  _save(tmp_path / "model")
  header = tmp_path / "model" / "network.json"
  text = header.read_text()
  header.write_text(text[:-20])
  with pytest.raises(errors.UserError, match="damaged"):
    store.load_network(tmp_path / "model")
  header.write_text(text.replace('"format": 3', '"format": 99'))
  with pytest.raises(errors.UserError, match="format 99"):
    store.load_network(tmp_path / "model")
  header.write_text(text.replace('"kind"', '"sort"'))
  with pytest.raises(errors.UserError, match="lacks kind"):
    store.load_network(tmp_path / "model")
  header.write_text("[1, 2]")
  with pytest.raises(errors.UserError, match="no JSON object"):
    store.load_network(tmp_path / "model")
  header.write_text(text.replace('"width"', '"breadth"'))
  with pytest.raises(errors.UserError, match="breadth"):
    store.load_network(tmp_path / "model")


def test_damaged_weights_are_one_clear_line(tmp_path):
  _save(tmp_path / "model")
  (tmp_path / "model" / "params" / "_METADATA").unlink()
  with pytest.raises(errors.UserError, match="weights"):
    store.load_network(tmp_path / "model")


def test_bundle_holds_every_network_and_refuses_strangers(tmp_path):
  _save(tmp_path / "a" / "model", identity="aaaa")
  _save(
    tmp_path / "b" / "model",
    kind="motion_vae",
    trained_on={"video_vae": "aaaa"},
  )
  _save(tmp_path / "c" / "model", kind="vism", trained_on={"video_vae": "cccc"})
  bundling.bundle([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
  found = store.open_bundle(tmp_path / "out")
  assert sorted(found) == ["motion_vae", "video_vae"]
  assert isinstance(found["video_vae"].config, video_vae.VideoVAEConfig)
  with pytest.raises(errors.UserError, match="another video_vae"):
    bundling.bundle([tmp_path / "a", tmp_path / "c"], tmp_path / "other")
  with pytest.raises(errors.UserError, match="both hold a video_vae"):
    bundling.bundle([tmp_path / "a", tmp_path / "a"], tmp_path / "other")
  assert not (tmp_path / "other").exists()


def test_bundle_goes_neither_over_a_folder_nor_from_an_unfinished_run(tmp_path):
  (tmp_path / "photos").mkdir()
  _save(tmp_path / "a" / "model")
  with pytest.raises(errors.UserError, match="is no bundle"):
    bundling.bundle([tmp_path / "a"], tmp_path / "photos")
  with pytest.raises(errors.UserError, match="train it to its end"):
    bundling.bundle([tmp_path / "nowhere"], tmp_path / "out")
  with pytest.raises(errors.UserError, match="more4d bundle"):
    store.open_bundle(tmp_path / "a")
