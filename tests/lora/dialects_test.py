"""Names of LoRA files, written out here by hand, and back."""

import json
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from more4d_jax import errors
from more4d_jax.lora import dialects
from more4d_jax.models import lora
from tests.lora import manifest

_RANK, _ALPHA = 4, 2.0
_COUNT = 8 + 12 * manifest.LAYERS


def _module(style, name, other):
  return {
    "original": "lora_unet__" + name.replace(".", "_"),
    "kohya": "lora_unet_" + name.replace(".", "_"),
    "comfyui": "diffusion_model." + name,
    "diffusers": "transformer." + other,
  }[style]


def _file(style, dtype="float32", alpha=_ALPHA):
  """Tensors and header of a LoRA in a style, values the same in all."""
  rng = np.random.default_rng(0)
  down, up = ("A", "B") if style == "diffusers" else ("down", "up")
  tensors = {}
  for name, (width, features, other) in manifest.modules().items():
    module = _module(style, name, other)
    tensors[f"{module}.lora_{down}.weight"] = rng.normal(size=(_RANK, width))
    tensors[f"{module}.lora_{up}.weight"] = rng.normal(size=(features, _RANK))
    if style != "diffusers":
      tensors[f"{module}.alpha"] = np.asarray(alpha)
  header = {}
  if style == "diffusers":
    values = {"transformer.lora_alpha": alpha, "transformer.r": _RANK}
    header = {"lora_adapter_metadata": json.dumps(values)}
  return {k: v.astype(dtype) for k, v in tensors.items()}, header


@pytest.mark.parametrize("style", dialects.STYLES)
def test_every_module_is_read_and_given_back_exactly(style):
  tensors, header = _file(style, dtype=ml_dtypes.bfloat16)
  found = dialects.read(tensors, header)
  assert found.style == style
  assert len(found.lora.modules) == _COUNT
  again, _ = dialects.write(found.lora, style)
  assert again.keys() == tensors.keys()
  for name, value in tensors.items():
    assert again[name].dtype == value.dtype
    assert again[name].shape == value.shape
    np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize("source", dialects.STYLES)
@pytest.mark.parametrize("target", dialects.STYLES)
def test_styles_become_each_other(source, target, tmp_path):
  found = dialects.read(*_file(source))
  path = tmp_path / "new" / "lora.safetensors"
  dialects.save(path, found.lora, target)
  expected, _ = _file(target)
  written = safetensors_numpy.load_file(path)
  assert written.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(written[name], value)
  again = dialects.load(path)
  assert again.lora.name == "lora.safetensors"
  for place, pair in found.lora.modules.items():
    assert again.lora.modules[place].scale == pair.scale == _ALPHA / _RANK
  assert [p.name for p in path.parent.iterdir()] == ["lora.safetensors"]


def test_places_are_our_own_paths():
  modules = dialects.read(*_file("original")).lora.modules
  tensors, _ = _file("original")
  pair = modules["blocks/cross_attn/k_img", 1]
  name = "lora_unet__blocks_1_cross_attn_k_img"
  np.testing.assert_array_equal(
    pair.down.T, tensors[f"{name}.lora_down.weight"]
  )
  np.testing.assert_array_equal(pair.up.T, tensors[f"{name}.lora_up.weight"])
  assert ("time_projection", None) in modules
  assert ("blocks/ffn/fc2", 0) in modules


@pytest.mark.parametrize(
  ("prefix", "suffix"),
  [
    ("base_model.model.", ""),
    ("", ""),
    ("transformer.", ".default"),
    ("base_model.model.", ".default"),
  ],
)
def test_other_spellings_of_peft_without_alpha(prefix, suffix):
  tensors, _ = _file("diffusers")
  tensors = {
    prefix
    + k.removeprefix("transformer.").replace(".weight", f"{suffix}.weight"): v
    for k, v in tensors.items()
  }
  found = dialects.read(tensors)
  assert found.style == "diffusers"
  assert {pair.scale for pair in found.lora.modules.values()} == {1.0}
  _, header = dialects.write(found.lora, "diffusers")
  assert not header  # Scale 1 is what a file without alpha means.


def test_comfyui_files_may_use_the_names_of_peft():
  tensors, _ = _file("comfyui")
  tensors = {
    k.replace("lora_down", "lora_A").replace("lora_up", "lora_B"): v
    for k, v in tensors.items()
  }
  found = dialects.read(tensors)
  assert found.style == "comfyui"
  assert len(found.lora.modules) == _COUNT


def test_the_text_encoders_part_is_counted_and_left_out():
  tensors, _ = _file("original")
  mine = len(tensors)
  tensors["lora_te_blocks_0_attn_q.lora_down.weight"] = np.zeros((4, 3))
  tensors["lora_te_blocks_0_attn_q.alpha"] = np.zeros(())
  found = dialects.read(tensors)
  assert found.left_out == 2
  assert len(dialects.write(found.lora, "original")[0]) == mine


@pytest.mark.parametrize("style", ["kohya", "comfyui"])
def test_agrees_with_the_converter_of_diffusers(style):
  pytest.importorskip("torch", reason="torch is the reference here")
  pytest.importorskip("diffusers", reason="diffusers is the reference here")
  import torch
  from diffusers.loaders import lora_conversion_utils as reference

  tensors, _ = _file(style)
  if style == "kohya":  # The reference knows its modules inside blocks only.
    tensors = {k: v for k, v in tensors.items() if "blocks" in k}
    convert = reference._convert_musubi_wan_lora_to_diffusers
  else:  # Nor alphas outside of them.
    tensors = {
      k: v for k, v in tensors.items() if "blocks" in k or "alpha" not in k
    }
    convert = reference._convert_non_diffusers_wan_lora_to_diffusers
  theirs = convert({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
  found = dialects.read(tensors)
  ours, _ = dialects.write(found.lora, "diffusers")
  assert ours.keys() == theirs.keys()
  for place, pair in found.lora.modules.items():
    module = dialects.module_name("diffusers", place)
    up = theirs[f"{module}.lora_B.weight"].numpy()
    change = up @ theirs[f"{module}.lora_A.weight"].numpy()
    np.testing.assert_allclose(
      pair.scale * (pair.down @ pair.up).T, change, atol=1e-5
    )
  assert "torch" in sys.modules


def test_mistakes_are_one_line_that_lists_all():
  tensors, _ = _file("comfyui")
  del tensors["diffusion_model.head.head.lora_up.weight"]
  tensors["diffusion_model.blocks.0.ffn.0.extra"] = np.zeros(3)
  tensors["diffusion_model.blocks.0.moe.lora_down.weight"] = np.zeros((4, 8))
  tensors["diffusion_model.blocks.1.ffn.2.lora_up.weight"] = np.zeros((8, 5))
  with pytest.raises(errors.UserError) as caught:
    dialects.read(tensors, name="bad.safetensors")
  text = str(caught.value)
  assert "\n" not in text
  for part in (
    "bad.safetensors",
    "blocks.0.ffn.0.extra is no tensor of a LoRA",
    "blocks.0.moe is no module of the transformer",
    "head.head lacks its up matrix",
    "blocks.1.ffn.2 has matrices (4, 12) and (8, 5)",
  ):
    assert part in text


def test_a_lora_of_another_kind_of_model_is_refused():
  tensors = {
    "lora_unet_down_blocks_0_attn.lora_down.weight": np.zeros((2, 3)),
    "lora_unet_down_blocks_0_attn.lora_up.weight": np.zeros((3, 2)),
  }
  with pytest.raises(errors.UserError, match="holds no LoRA of this"):
    dialects.read(tensors)
  assert dialects.is_lora(tensors)
  assert not dialects.is_lora(["blocks.0.ffn.0.weight", "x.bias"])


def test_files_that_cannot_be_read(tmp_path):
  with pytest.raises(errors.UserError, match=r"found no .*none.safetensors"):
    dialects.load(tmp_path / "none.safetensors")
  path = tmp_path / "cut.safetensors"
  dialects.save(path, dialects.read(*_file("kohya")).lora, "kohya")
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(errors.UserError, match=r"cut\.safetensors is truncated"):
    dialects.load(path)


def test_names_that_cannot_be_written():
  pair = lora.LowRank(np.zeros((3, 1)), np.zeros((1, 3)), 1.0)
  guide = lora.LoRA("strag", {("blocks/madanorm_ffn/proj", 0): pair})
  tensors, _ = dialects.write(guide, "original")
  prefix = "lora_unet__blocks_0_spatial_guidance_ffn_spatial_guide_1"
  assert f"{prefix}.alpha" in tensors
  with pytest.raises(errors.UserError, match="no name for blocks/madanorm_ffn"):
    dialects.write(guide, "diffusers")
  with pytest.raises(errors.UserError, match="unknown style"):
    dialects.write(guide, "a1111")
