"""Published files to a bundle: exact, complete, strict, whole or not at all."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

import more4d_jax
from more4d_jax import checkpoint_networks, errors
from more4d_jax.checkpoints import bundling, store
from more4d_jax.models import latent_stats, variants
from more4d_jax.name_maps import dit, matching, text, vae
from more4d_jax.published import assembly, convert, revert
from tests import nano_bundle
from tests.published import released

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
  found = found.with_head_dim(16)
  return matching.flatten(matching.to_params(found, weights))


def test_networks_hold_the_published_values(bundle):
  networks = store.open_bundle(bundle)
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
  networks = store.open_bundle(bundle)
  strag, motion = networks["strag"], networks["motion_vae"]
  assert strag.config.dit.motion_alignment == "compat"
  assert strag.config.use_depth_latents
  assert strag.metadata["conditions"] == {
    "image_context": "grey",
    "reference": "zeros",
  }
  # docs/method/trajectories.md#camera-factors and
  # docs/method/video_autoencoder.md#trajectory-statistics, spelt out there.
  alpha = motion.metadata["normalisation"]["fixed_alpha"]
  assert alpha == [1.0434782608695652, 1.0]
  stats = motion.metadata["latent_stats"]
  first = -0.7571 + 2.8184 * 0.9336646795272827
  assert stats["mean"][0] == pytest.approx(first, rel=1e-6)
  assert stats["std"][0] == pytest.approx(2.8184 * 0.4107, rel=1e-6)
  base = networks["video_vae"].metadata["latent_stats"]
  assert base == latent_stats.WAN.to_json()
  sampler = checkpoint_networks.CheckpointNetworks(networks).sampler("strag")
  assert (sampler.num_steps, sampler.shift) == (50, 5.0)
  assert (sampler.guidance_scale, sampler.schedule) == (6.0, "compat")
  identities = {n.metadata["identity"] for n in networks.values()}
  assert len(identities) == 4


def test_sizes_are_read_from_the_tensors(bundle):
  networks = store.open_bundle(bundle)
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
  overrides = {"num_steps": 1}
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
  networks = checkpoint_networks.CheckpointNetworks(store.open_bundle(bundle))
  tokens = networks.tokens("strag", ["a red ball moves", "red unheard", ""])
  # From the list in released.write_tokenizer: "▁a" is 7, and so on.
  assert tokens[0, :6].tolist() == [7, 8, 9, 10, 1, 0]
  assert tokens[1, :4].tolist()[0] == 8
  assert tokens[2, :2].tolist() == [1, 0] and tokens.dtype == np.int32


def test_converting_again_replaces_and_keeps_the_rest(bundle, tmp_path):
  out = tmp_path / "bundle"
  shutil.copytree(bundle, out)
  before = store.open_bundle(out)
  changed = released.inpaint()
  changed["head.head.bias"] = changed["head.head.bias"] + 1
  released.write_safetensors(tmp_path / "new.safetensors", changed)
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  convert.convert(tmp_path / "new.safetensors", out, _QUIET)
  after = store.open_bundle(out)
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


def _lora(width=32):
  """A LoRA of one linear map, under the original's names."""
  generator = np.random.default_rng(3)
  module = "lora_unet__blocks_1_self_attn_q"
  down, up = (
    generator.standard_normal(shape).astype(np.float32)
    for shape in ((4, width), (width, 4))
  )
  return {
    f"{module}.lora_down.weight": down,
    f"{module}.lora_up.weight": up,
    f"{module}.alpha": np.array(2.0, np.float32),
  }


def test_a_lora_joins_the_bundle_and_comes_back(bundle, tmp_path):
  out, weights = tmp_path / "bundle", _lora()
  shutil.copytree(bundle, out)
  before = store.open_bundle(out)["vism"].params["dit"]["blocks"]
  path = tmp_path / "lora_diffusion_pytorch_model.safetensors"
  released.write_safetensors(path, weights)
  report = convert.convert(path, out, _QUIET)
  assert not report.parts
  assert any("LoRA of 1 modules" in line for line in convert.describe(report))
  vism = more4d_jax.load(out).networks.network("vism")
  module = "lora_unet__blocks_1_self_attn_q"
  down, up = (weights[f"{module}.lora_{k}.weight"] for k in ("down", "up"))
  # Two heads of 16 values, those of even number first.
  order = [*range(0, 16, 2), *range(1, 16, 2)]
  order += [16 + i for i in order]
  change = (2.0 / 4) * (up @ down).T[:, order]
  kernel = vism.params["dit"]["blocks"]["self_attn"]["q"]["kernel"]
  expected = before["self_attn"]["q"]["kernel"]
  np.testing.assert_array_equal(kernel[0], expected[0])
  # One multiplication and one addition in float32.
  np.testing.assert_allclose(kernel[1], expected[1] + change, atol=1e-5)
  revert.revert(out, tmp_path / "back")
  back = safetensors_numpy.load_file(tmp_path / "back" / "4D-ViSM" / path.name)
  assert set(back) == set(weights)
  for name, value in weights.items():
    np.testing.assert_array_equal(back[name], value)


def test_a_lora_for_another_base_writes_nothing(bundle, tmp_path):
  out = tmp_path / "bundle"
  shutil.copytree(bundle, out)
  path = tmp_path / "lora.safetensors"
  released.write_safetensors(path, _lora(48))
  before = sorted(out.rglob("*"))
  with pytest.raises(errors.UserError, match="another network"):
    convert.convert(path, out, _QUIET)
  assert sorted(out.rglob("*")) == before


def test_what_weights_were_trained_at_stays_with_them(bundle, tmp_path):
  out = tmp_path / "bundle"
  shutil.copytree(bundle, out)
  path = tmp_path / "vae.pth"
  video = released.make(vae.table_of(released.VAE), seed=6)
  released.write_torch(path, video)
  # The default clip of this call is not that of the transformers.
  convert.convert(path, out, convert.Options(progress=False))
  assert more4d_jax.load(out).size == (5, 32, 48)


def test_parts_of_another_size_do_not_join_a_bundle(bundle, tmp_path):
  out = tmp_path / "bundle"
  shutil.copytree(bundle, out)
  encoder = released.make(text.UMT5, D=16, M=18)
  released.write_torch(tmp_path / "t5.pth", encoder)
  before = sorted(p for p in out.rglob("*"))
  with pytest.raises(errors.UserError, match="do not belong together"):
    convert.convert(tmp_path / "t5.pth", out, _QUIET)
  assert sorted(p for p in out.rglob("*")) == before


def test_converted_and_trained_networks_in_one_bundle(bundle, tmp_path):
  config = variants.get("nano").depth
  params = nano_bundle.params_of(variants.get("nano"), "depth")
  store.save_network(tmp_path / "depth" / "model", params, config, {})
  out = tmp_path / "all"
  kinds = bundling.bundle([bundle, tmp_path / "depth"], out)
  assert set(kinds) == {"video_vae", "motion_vae", "strag", "vism", "depth"}
  found, before = store.open_bundle(out), store.open_bundle(bundle)
  for kind, network in before.items():
    assert found[kind].metadata == network.metadata
    ours, theirs = (matching.flatten(n.params) for n in (found[kind], network))
    assert set(ours) == set(theirs)
    for path, value in theirs.items():
      np.testing.assert_array_equal(ours[path], value)
  assert found["strag"].files["tokenizer"].is_dir()
  with pytest.raises(errors.UserError, match="both hold a"):
    bundling.bundle([bundle, bundle], tmp_path / "twice")


def test_the_motion_encoder_inside_is_compared_with_the_public_one(tmp_path):
  weights, out = released.strag(), tmp_path / "out"
  released.write_safetensors(tmp_path / "a.safetensors", weights)
  (tmp_path / "config.json").write_text(json.dumps(released.CONFIG))
  convert.convert(tmp_path / "a.safetensors", out, _QUIET)
  prefix = "omnimae_extractor."
  public = {
    name.removeprefix(prefix): value
    for name, value in weights.items()
    if name.startswith(prefix)
  }
  path = tmp_path / "vitb_pretrain.torch"
  released.write_torch(path, public)
  report = convert.convert(path, out, _QUIET)
  assert report.motion_encoder.endswith("is OmniMAE's")
  public["trunk.norm.bias"] = public["trunk.norm.bias"] + 1
  released.write_torch(path, public)
  report = convert.convert(path, out, _QUIET)
  assert "differs from OmniMAE's in 1 of 20 tensors" in report.motion_encoder
  assert report.motion_encoder in list(convert.describe(report))
