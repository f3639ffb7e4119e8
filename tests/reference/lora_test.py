"""Merged LoRAs against PEFT's own merging, and files of PEFT and diffusers."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: make reference")
peft = pytest.importorskip("peft", reason="needs PEFT: make reference")
diffusers = pytest.importorskip(
  "diffusers", reason="needs diffusers: make reference"
)

import torch
from diffusers.loaders import lora_conversion_utils as conversion

from more4d_jax.lora import dialects
from more4d_jax.models import lora, lora_merging
from more4d_jax.name_maps import dit, matching
from tests.reference import agreement

pytestmark = pytest.mark.torch

_HEADS, _HEAD_DIM = 2, 12
_TARGETS = [
  "to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj",
  "net.0.proj", "net.2", "proj_out", "time_proj", "linear_1", "linear_2",
]  # fmt: skip
_OPTIONS = {
  "alpha": {"r": 4, "lora_alpha": 8},
  "rslora": {"r": 4, "lora_alpha": 8, "use_rslora": True},
  "patterns": {
    "r": 4,
    "lora_alpha": 8,
    "rank_pattern": {"attn1.to_q": 9, r"blocks\.1\.ffn\.net\.2": 2},
    "alpha_pattern": {"to_q": 3, "blocks.0.attn2.to_k": 20},
  },
  "rslora and patterns": {
    "r": 4,
    "lora_alpha": 8,
    "use_rslora": True,
    "rank_pattern": {".*to_v": 16},
    "alpha_pattern": {r"blocks\.[01]\.attn1\.to_(q|v)": 6},
  },
  "biases": {"r": 4, "lora_alpha": 8, "lora_bias": True},
}


def _base():
  return agreement.redraw(
    diffusers.WanTransformer3DModel(
      num_attention_heads=_HEADS,
      attention_head_dim=_HEAD_DIM,
      num_layers=2,
      ffn_dim=2 * _HEADS * _HEAD_DIM,
      text_dim=24,
      freq_dim=32,
      image_dim=20,
      added_kv_proj_dim=_HEADS * _HEAD_DIM,
    )
  )


def _adapted(options):
  """PEFT's model around the base, with random matrices."""
  config = peft.LoraConfig(
    target_modules=_TARGETS, init_lora_weights=True, **options
  )
  model = peft.get_peft_model(_base(), config)
  generator = torch.Generator().manual_seed(1)
  with torch.no_grad():
    for name, value in model.named_parameters():
      if "lora_" in name:
        value.copy_(0.2 * torch.randn(value.shape, generator=generator))
  return model


def _params(weights):
  found = matching.match(dit.DIFFUSERS, matching.shapes_of(weights))
  return matching.to_params(found.with_head_dim(_HEAD_DIM), weights)


def _assert_merged(found, merged_weights):
  ours = lora_merging.merge(
    _params(agreement.weights(_base())),
    [lora.Weighted(found.lora)],
    _HEAD_DIM,
  )
  ours = matching.flatten(ours)
  theirs = matching.flatten(_params(merged_weights))
  assert ours.keys() == theirs.keys()
  for path, value in theirs.items():
    # Float32 rounding of sums of size 1.
    np.testing.assert_allclose(ours[path], value, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", _OPTIONS)
def test_a_folder_of_peft_merges_as_peft_merges(name, tmp_path):
  model = _adapted(_OPTIONS[name])
  model.save_pretrained(tmp_path)
  found = dialects.load(tmp_path / "adapter_model.safetensors")
  assert len(found.lora.modules) == 8 + 12 * 2
  merged = model.merge_and_unload()
  _assert_merged(found, agreement.weights(merged))


@pytest.mark.parametrize("name", ["alpha", "rslora", "rslora and patterns"])
def test_a_file_of_diffusers_merges_as_diffusers_fuses(name, tmp_path):
  base = _base()
  config = peft.LoraConfig(target_modules=_TARGETS, **_OPTIONS[name])
  base.add_adapter(config)
  generator = torch.Generator().manual_seed(2)
  with torch.no_grad():
    for key, value in base.named_parameters():
      if "lora_" in key:
        value.copy_(0.2 * torch.randn(value.shape, generator=generator))
  diffusers.WanPipeline.save_lora_weights(
    tmp_path,
    transformer_lora_layers=peft.get_peft_model_state_dict(base),
    transformer_lora_adapter_metadata=config.to_dict(),
  )
  found = dialects.load(tmp_path / "pytorch_lora_weights.safetensors")
  base.fuse_lora()
  base.unload_lora()
  _assert_merged(found, agreement.weights(base))


def test_full_differences_of_biases_are_those_of_diffusers():
  """Both readings of a distilled file, ours and that of diffusers, agree."""
  generator, tensors = np.random.default_rng(3), {}
  width = _HEADS * _HEAD_DIM
  for layer in range(2):
    for part in "qkvo":
      name = f"diffusion_model.blocks.{layer}.self_attn.{part}"
      for leaf, shape in (
        ("lora_down.weight", (4, width)),
        ("lora_up.weight", (width, 4)),
        ("diff_b", (width,)),
      ):
        tensors[f"{name}.{leaf}"] = generator.normal(size=shape)
  tensors = {k: v.astype(np.float32) for k, v in tensors.items()}
  theirs = conversion._convert_non_diffusers_wan_lora_to_diffusers(
    {k: torch.from_numpy(v.copy()) for k, v in tensors.items()}
  )
  theirs = {k: v.numpy() for k, v in theirs.items()}
  assert any(key.endswith("lora_B.bias") for key in theirs)
  direct, through = dialects.read(tensors).lora, dialects.read(theirs).lora
  assert direct.modules.keys() == through.modules.keys()
  assert direct.differences.keys() == through.differences.keys()
  for place, value in direct.differences.items():
    np.testing.assert_array_equal(through.differences[place], value)
  for place, pair in direct.modules.items():
    np.testing.assert_array_equal(through.modules[place].up, pair.up)
