"""Published files to a bundle: exact, complete, strict, whole or not at all."""

import json
import shutil
import struct

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

import more4d_jax
from more4d_jax import errors, loaded
from more4d_jax.checkpoints import (
  arrays,
  assembly,
  convert,
  store,
  weight_files,
)
from more4d_jax.checkpoints.name_maps import dit, matching, text, vae
from more4d_jax.models import latent_stats
from tests.checkpoints import released

_QUIET = convert.Options(
  progress=False, clip=assembly.Clip(frames=5, height=32, width=48)
)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
  return released.write(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def bundle(release):
  out = release / "bundle"
  report = convert.convert(release / "4D-STraG", out, _QUIET)
  assert report.networks == ()
  assert report.missing == {"strag": ("image_encoder", "text_encoder")}
  convert.convert(release / "VAE", out, _QUIET)
  report = convert.convert(release / "Wan2.1-Fun-InP", out, _QUIET)
  assert set(report.networks) == {"video_vae", "motion_vae", "strag", "vism"}
  assert not report.missing
  assert not report.unnamed
  return out


def _params(names, weights):
  found = matching.match(names, matching.shapes_of(weights))
  return matching.flatten(matching.to_params(found, weights))


def test_networks_hold_the_published_values(bundle):
  networks = store.load_bundle(bundle)
  expected = {
    "strag": _params(dit.STRAG, released.strag()),
    "vism": {
      f"dit/{path}": value
      for path, value in _params(dit.DIT, released.inpaint()).items()
    },
    "video_vae": _params(
      vae.table_of(released.VAE),
      released.make(vae.table_of(released.VAE), seed=6),
    ),
  }
  for kind, values in expected.items():
    found = matching.flatten(networks[kind].params)
    for path, value in values.items():
      np.testing.assert_array_equal(found[path], value, err_msg=path)
  motion = networks["motion_vae"]
  assert set(motion.params) == {
    *("trajectory_encoder", "vae", "trajectory_decoder")
  }
  assert motion.config.adapter.decoder_blocks == 2
  # Both transformers share the text encoder that is read once.
  strag, vism = (networks[kind].params for kind in ("strag", "vism"))
  assert strag["text_encoder"] is vism["text_encoder"]


def test_metadata_is_that_of_the_released_weights(bundle):
  networks = store.load_bundle(bundle)
  strag, motion = networks["strag"], networks["motion_vae"]
  assert strag.config.dit.motion_alignment == "compat"
  assert strag.config.use_depth_latents
  assert strag.metadata["conditions"] == {
    "image_context": "grey",
    "reference": "zeros",
  }
  # Spec 03 section 2 and spec 12 section 2, spelt out there.
  alpha = motion.metadata["normalisation"]["fixed_alpha"]
  assert alpha == [1.0434782608695652, 1.0]
  stats = motion.metadata["latent_stats"]
  first = -0.7571 + 2.8184 * 0.9336646795272827
  assert stats["mean"][0] == pytest.approx(first, rel=1e-6)
  assert stats["std"][0] == pytest.approx(2.8184 * 0.4107, rel=1e-6)
  base = networks["video_vae"].metadata["latent_stats"]
  assert base == latent_stats.WAN.to_json()
  sampler = loaded.Networks(networks).sampler("strag")
  assert (sampler.num_steps, sampler.shift) == (50, 5.0)
  assert (sampler.guidance_scale, sampler.schedule) == (6.0, "compat")
  identities = {n.metadata["identity"] for n in networks.values()}
  assert len(identities) == 4


def test_sizes_are_read_from_the_tensors(bundle):
  networks = store.load_bundle(bundle)
  config = networks["strag"].config
  assert (config.dit.width, config.dit.num_layers) == (32, 2)
  assert (config.dit.in_channels, config.dit.num_heads) == (64, 2)
  assert config.motion.image_size == (8, 8)
  assert config.text.num_heads == 3
  assert config.image.num_layers == 1  # The last of two blocks is not run.
  assert config.dit.image_tokens == 5
  assert networks["vism"].config.dit.in_channels == 36


@pytest.mark.slow
def test_a_scene_and_a_video_from_published_weights(bundle):
  overrides = loaded.Overrides(num_steps=1)
  pipeline = more4d_jax.load(bundle, overrides)
  image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
  depth = np.full((32, 48), 2.0, np.float32)
  scene = pipeline(image, "a red ball moves", depth=depth)
  assert scene.tracks.shape == (5, 32, 48, 3)
  assert np.isfinite(scene.tracks).all()
  other = pipeline(image, "a ball", depth=depth)
  assert not np.array_equal(scene.tracks, other.tracks)
  video = pipeline.complete(scene, "static")
  assert video.shape == (5, 32, 48, 3)


def test_captions_become_the_tokens_of_the_files(bundle):
  networks = loaded.Networks(store.load_bundle(bundle))
  tokens = networks.tokens("strag", ["a red ball moves", "red unheard"])
  # From the list in released.write_tokenizer: "▁a" is 7, and so on.
  assert tokens["tokens"][0, :6].tolist() == [7, 8, 9, 10, 1, 0]
  assert tokens["tokens"][1, :4].tolist()[0] == 8
  assert tokens["negative_tokens"][0, :2].tolist() == [1, 0]
  assert tokens["tokens"].dtype == jnp.int32


def test_converting_again_replaces_and_keeps_the_rest(bundle, tmp_path):
  out = tmp_path / "bundle"
  shutil.copytree(bundle, out)
  before = store.load_bundle(out)
  changed = released.inpaint()
  changed["head.head.bias"] = changed["head.head.bias"] + 1
  released.write_safetensors(tmp_path / "new.safetensors", changed)
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  convert.convert(tmp_path / "new.safetensors", out, _QUIET)
  after = store.load_bundle(out)
  for kind in ("strag", "vism"):
    same = before[kind].metadata["identity"] == after[kind].metadata["identity"]
    assert same == (kind == "strag")
  bias = after["vism"].params["dit"]["head"]["linear"]["bias"]
  np.testing.assert_array_equal(bias, changed["head.head.bias"])


def test_types_are_kept_and_computing_follows_them(tmp_path):
  weights = {
    name: value.astype(ml_dtypes.bfloat16)
    for name, value in released.inpaint().items()
  }
  released.write_safetensors(tmp_path / "in" / "a.safetensors", weights)
  (tmp_path / "in" / "config.json").write_text(json.dumps(released.CONFIG))
  convert.convert(tmp_path / "in", tmp_path / "out", _QUIET)
  network = store.load_network(tmp_path / "out" / "vism_transformer")
  assert network.config.dtype == "bfloat16"
  for path, value in matching.flatten(network.params).items():
    assert value.dtype == ml_dtypes.bfloat16, path


def _refused(source, out, match, options=_QUIET):
  """One line, and nothing is there afterwards."""
  with pytest.raises(errors.UserError, match=match) as caught:
    convert.convert(source, out, options)
  assert "\n" not in str(caught.value)
  assert not out.exists()
  return str(caught.value)


def test_a_truncated_file_writes_nothing(tmp_path):
  whole = tmp_path / "whole.safetensors"
  released.write_safetensors(whole, released.inpaint())
  data, cut = whole.read_bytes(), tmp_path / "cut.safetensors"
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
    cut.write_bytes(data[:length])
    _refused(cut, tmp_path / "out", "truncated")
  cut.write_bytes(data + b"more")
  _refused(cut, tmp_path / "out", "truncated")
  header = json.dumps({"a": {"dtype": "F32", "shape": [2]}}).encode()
  cut.write_bytes(struct.pack("<Q", len(header)) + header)
  _refused(cut, tmp_path / "out", "damaged")


def test_a_malicious_file_runs_nothing(tmp_path):
  victim, path = tmp_path / "victim", tmp_path / "weights.pth"
  program = f"cos\nsystem\n(X\x0f\x00\x00\x00touch {victim}"
  content = b"\x80\x02" + program.encode()[:40] + b"tR."
  import zipfile

  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", content)
  line = _refused(path, tmp_path / "out", "is refused")
  assert "os.system" in line
  assert not victim.exists()


def test_types_that_are_mixed_are_counted_and_can_be_brought_to_one(tmp_path):
  weights = released.inpaint()
  weights["head.head.bias"] = weights["head.head.bias"].astype(np.float16)
  path = tmp_path / "in" / "a.safetensors"
  released.write_safetensors(path, weights)
  (tmp_path / "in" / "config.json").write_text(json.dumps(released.CONFIG))
  line = _refused(path, tmp_path / "out", "--dtype")
  assert "1 of float16; head.head.bias differ" in line
  options = convert.Options(dtype="float32", progress=False)
  convert.convert(path, tmp_path / "out", options)
  network = store.load_network(tmp_path / "out" / "vism_transformer")
  found = {v.dtype for v in matching.flatten(network.params).values()}
  assert found == {np.dtype(np.float32)}
  with pytest.raises(errors.UserError, match="expected a dtype among"):
    convert.Options(dtype="int8")


def test_a_config_json_of_another_size_is_refused(tmp_path):
  released.write_safetensors(tmp_path / "a.safetensors", released.inpaint())
  config = {"dim": 64, "num_heads": 2}
  (tmp_path / "config.json").write_text(json.dumps(config))
  line = _refused(tmp_path / "a.safetensors", tmp_path / "out", "another size")
  assert "64" in line
  assert "32" in line


def test_parts_of_another_size_do_not_join_a_bundle(bundle, tmp_path):
  out = tmp_path / "bundle"
  shutil.copytree(bundle, out)
  encoder = released.make(text.UMT5, D=16, M=18)
  released.write_torch(tmp_path / "t5.pth", encoder)
  before = sorted(p for p in out.rglob("*"))
  with pytest.raises(errors.UserError, match="do not belong together"):
    convert.convert(tmp_path / "t5.pth", out, _QUIET)
  assert sorted(p for p in out.rglob("*")) == before


def test_tensors_that_are_missing_or_too_many_write_nothing(tmp_path):
  weights = released.inpaint()
  del weights["time_projection.1.bias"]
  weights["blocks.0.extra.weight"] = np.zeros(3, np.float32)
  path = tmp_path / "a.safetensors"
  released.write_safetensors(path, weights)
  line = _refused(path, tmp_path / "out", "missing time_projection")
  assert "not expected blocks.0.extra.weight" in line


def test_unknown_files_say_what_was_looked_for(tmp_path):
  path = tmp_path / "a.safetensors"
  released.write_safetensors(path, {"what.weight": np.zeros(3, np.float32)})
  line = _refused(path, tmp_path / "out", "no known kind")
  assert "visual.cls_embedding" in line
  assert "what.weight" in line
  _refused(tmp_path, tmp_path / "out", "no known kind")
  _refused(tmp_path / "none", tmp_path / "out", "name what you downloaded")
  (tmp_path / "empty").mkdir()
  _refused(tmp_path / "empty", tmp_path / "out", "name the folder")
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos" / "a.jpg").touch()
  with pytest.raises(errors.UserError, match="is no bundle"):
    convert.convert(path, tmp_path / "photos", _QUIET)


def test_two_files_of_one_kind_are_not_chosen_between(tmp_path):
  for name in ("a", "b"):
    path = tmp_path / f"{name}.safetensors"
    released.write_safetensors(path, released.inpaint())
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  _refused(tmp_path, tmp_path / "out", "both hold a vism_transformer")


def test_shards_and_their_index_must_agree(tmp_path):
  released.write_shards(tmp_path, released.inpaint())
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  shard = tmp_path / "diffusion_pytorch_model-1.safetensors"
  whole = safetensors_numpy.load_file(shard)
  released.write_safetensors(shard, dict(list(whole.items())[:-1]))
  _refused(tmp_path, tmp_path / "out", "disagree about")
  shard.unlink()
  _refused(tmp_path, tmp_path / "out", "download all shards")


class _Interrupted(BaseException):
  """As Ctrl-C, which is no Exception."""


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
  path = tmp_path / "a.safetensors"
  released.write_safetensors(path, released.inpaint())
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  opened = weight_files.open_weights(path)
  count = 0

  def stop(name, tensor):
    def read():
      nonlocal count
      count += 1
      if count > 20:
        raise _Interrupted(name)
      return tensor.read()

    return arrays.LazyArray(tensor.shape, tensor.dtype, read)

  tensors = {name: stop(name, t) for name, t in opened.tensors.items()}
  weights = weight_files.Weights(path, tensors, opened.config)
  monkeypatch.setattr(weight_files, "open_weights", lambda _: weights)
  out = tmp_path / "out"
  with pytest.raises(_Interrupted):
    convert.convert(path, out, _QUIET)
  assert not any(out.rglob("network.json"))
  assert not any(out.glob("vism_transformer*"))
  # What a process that was killed leaves is not taken for a network.
  monkeypatch.undo()
  partial = out / "vism_transformer.partial"
  partial.mkdir(parents=True)
  (partial / "network.json").write_text("{}")
  convert.convert(path, out, _QUIET)
  assert [p.name for p in sorted(out.iterdir())] == [
    "model.json",
    "vism_transformer",
  ]
