"""Back to the original's names: exactly what was published."""

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.models import backbone, motion_vae, variants
from more4d_jax.name_maps import dit, matching, text, vae
from more4d_jax.published import assembly, convert, revert
from tests import nano_bundle
from tests.published import released

_QUIET = convert.Options(
  progress=False, clip=assembly.Clip(frames=5, height=32, width=48)
)


def _same(path, expected):
  """The file holds exactly these tensors; read with the library."""
  found = safetensors_numpy.load_file(path)
  assert set(found) == set(expected)
  for name, value in expected.items():
    assert found[name].dtype == value.dtype, name
    np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def back(tmp_path_factory):
  folder = tmp_path_factory.mktemp("there_and_back")
  released.write(folder / "release")
  convert.convert(folder / "release", folder / "bundle", _QUIET)
  lines = revert.revert(folder / "bundle", folder / "back")
  return folder / "back", lines


def test_published_files_come_back_exactly(back):
  folder, lines = back
  name = "diffusion_pytorch_model.safetensors"
  # OmniMAE's unused tensors are among those of 4D-STraG.
  strag = released.strag()
  assert "omnimae_extractor.trunk.decoder.pos_embed" in strag
  _same(folder / "4D-STraG" / name, strag)
  _same(folder / "4D-ViSM" / name, released.inpaint())
  base = released.make(vae.table_of(released.VAE), seed=6)
  _same(folder / "Wan2.1_VAE.safetensors", base)
  for part, weights in released.stage_a().items():
    _same(folder / "VAE" / part / "pytorch_model.safetensors", weights)
  text_of_lines = "\n".join(lines)
  assert f"4D-STraG/{name}: {len(strag)} tensors" in text_of_lines
  assert "umT5's own file" in text_of_lines


def test_config_json_is_what_reading_it_needs(back):
  folder, _ = back
  config = json.loads((folder / "4D-STraG" / "config.json").read_text())
  assert config["num_heads"] == 2
  assert config["in_dim"] == 64
  assert config["add_ref_conv"]
  # The reversed files convert again to the same network.
  out = folder / "again"
  convert.convert(folder / "4D-STraG", out, _QUIET)
  first, again = (
    store.load_network(place / "strag_transformer")
    for place in (folder.parent / "bundle", out)
  )
  assert first.config == again.config
  assert first.metadata["identity"] == again.metadata["identity"]


def test_prefixes_come_back(tmp_path):
  weights = {
    f"model.diffusion_model.{name}": value
    for name, value in released.inpaint().items()
  }
  path = tmp_path / "in" / "a.safetensors"
  released.write_safetensors(path, weights)
  (tmp_path / "in" / "config.json").write_text(json.dumps(released.CONFIG))
  convert.convert(path, tmp_path / "out", _QUIET)
  revert.revert(tmp_path / "out" / "vism_transformer", tmp_path / "back")
  _same(tmp_path / "back" / "diffusion_pytorch_model.safetensors", weights)


def test_diffusers_names_become_the_original_ones(tmp_path):
  names = dit.DIFFUSERS
  weights = released.make(names, seed=2, C=36)
  path = tmp_path / "in" / "a.safetensors"
  released.write_safetensors(path, weights)
  config = json.dumps({"num_attention_heads": 2})
  (tmp_path / "in" / "config.json").write_text(config)
  convert.convert(path, tmp_path / "out", _QUIET)
  revert.revert(tmp_path / "out" / "vism_transformer", tmp_path / "back")
  found = safetensors_numpy.load_file(
    tmp_path / "back" / "diffusion_pytorch_model.safetensors"
  )
  np.testing.assert_array_equal(
    found["blocks.1.cross_attn.k_img.weight"],
    weights["blocks.1.attn2.add_k_proj.weight"],
  )
  assert set(found) == set(released.inpaint())


def test_trained_networks_are_given_back_layer_by_layer(tmp_path):
  variant = variants.get("nano")
  params = nano_bundle.params_of(variant, "strag")
  store.save_network(tmp_path / "run" / "model", params, variant.strag, {})
  lines = revert.revert(tmp_path / "run", tmp_path / "back")
  assert any("shifts them by one frame" in line for line in lines)
  assert any("strict=False" in line for line in lines)
  folder = tmp_path / "back" / "4D-STraG"
  found = safetensors_numpy.load_file(
    folder / "diffusion_pytorch_model.safetensors"
  )
  kernel = params["dit"]["blocks"]["ffn"]["fc1"]["kernel"]
  assert len(kernel) == 2
  for i, layer in enumerate(kernel):
    np.testing.assert_array_equal(found[f"blocks.{i}.ffn.0.weight"], layer.T)
  words = safetensors_numpy.load_file(folder / "text_encoder.safetensors")
  matching.match(text.UMT5, matching.shapes_of(words))


@pytest.mark.parametrize("kind", ["vism", "video_vae"])
def test_other_trained_networks(tmp_path, kind):
  variant = variants.get("nano")
  params = nano_bundle.params_of(variant, kind)
  config = getattr(variant, kind)
  store.save_network(tmp_path / "model", params, config, {})
  revert.revert(tmp_path, tmp_path / "back", "bfloat16")
  place = {
    "vism": "4D-ViSM/diffusion_pytorch_model.safetensors",
    "video_vae": "Wan2.1_VAE.safetensors",
  }[kind]
  import ml_dtypes

  found = safetensors_numpy.load_file(tmp_path / "back" / place)
  assert {v.dtype for v in found.values()} == {np.dtype(ml_dtypes.bfloat16)}
  names = dit.DIT if kind == "vism" else vae.table_of(config)
  matching.match(names, matching.shapes_of(found))


def test_what_the_original_cannot_hold_is_refused(tmp_path):
  gained = motion_vae.MotionVAEConfig(
    vae=variants.get("nano").video_vae,
    adapter=variants.get("nano").motion_vae.adapter,
    gain=4.0,
  )
  some = {"a": np.zeros(1, np.float32)}
  store.save_network(tmp_path / "model", some, gained, {})
  with pytest.raises(errors.UserError, match="gain 1"):
    revert.revert(tmp_path, tmp_path / "back")
  depth = variants.get("nano").depth
  store.save_network(tmp_path / "model", some, depth, {})
  with pytest.raises(errors.UserError, match="no counterpart"):
    revert.revert(tmp_path, tmp_path / "back")
  small = backbone.DiTConfig(8, 8, 1, 1, 16)
  store.save_network(tmp_path / "model", some, small, {})
  with pytest.raises(errors.UserError, match="missing patch_embed/kernel"):
    revert.revert(tmp_path, tmp_path / "back")
  assert not (tmp_path / "back").exists()
  with pytest.raises(errors.UserError, match="found none"):
    revert.revert(tmp_path / "nowhere", tmp_path / "back")
  with pytest.raises(errors.UserError, match="exists"):
    revert.revert(tmp_path, tmp_path)
  with pytest.raises(errors.UserError, match="expected a dtype"):
    revert.revert(tmp_path, tmp_path / "back", "int8")
