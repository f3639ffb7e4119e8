"""Merged weights of every dialect against plain sums of the published ones.

The reference adds to the published tensors in float64, under their own names,
and converts the sums as any published checkpoint.
"""

import json

import ml_dtypes
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.checkpoints import safetensors_files
from more4d_jax.checkpoints.array_trees import LazyArray
from more4d_jax.lora import dialects
from more4d_jax.models import lora, lora_beside, lora_merging
from more4d_jax.name_maps import dit, matching
from tests.lora import manifest
from tests.published import released

_HEAD_DIM, _RANK = 16, 4


def _flat(name):
  return name.replace(".", "_")


def _half_flat(name):
  return name.replace("blocks.", "blocks_", 1)


# What stands before a name, how it is spelt, whether it is diffusers' name,
# and what the two matrices are called.
_WORDS = ("lora_down.weight", "lora_up.weight")
_LETTERS = ("lora_A.weight", "lora_B.weight")
_NAMED = ("lora_A.default.weight", "lora_B.default.weight")
_DIALECTS = {
  "original": ("lora_unet__", _flat, 0, _WORDS),
  "kohya": ("lora_unet_", _flat, 0, _WORDS),
  "dots": ("lora_unet_", _half_flat, 0, _WORDS),
  "all dots": ("lora_unet_", str, 0, _LETTERS),
  "lycoris": ("lycoris_", _flat, 0, _WORDS),
  "comfyui": ("diffusion_model.", str, 0, _LETTERS),
  "export": ("model.diffusion_model.", str, 0, _LETTERS),
  "bare": ("", str, 0, _WORDS),
  "adapter": ("", str, 0, _NAMED),
  "pipe": ("pipe.dit.", str, 0, _NAMED),
  "peft": ("base_model.model.", str, 0, _LETTERS),
  "peft, comfyui": ("base_model.model.diffusion_model.", str, 0, _LETTERS),
  "diffusers": ("transformer.", str, 1, _LETTERS),
  "bare diffusers": ("", str, 1, ("lora.down.weight", "lora.up.weight")),
  "peft diffusers": ("base_model.model.", str, 1, _NAMED),
  "flat diffusers": ("lora_transformer_", _flat, 1, _WORDS),
}  # fmt: skip


@pytest.fixture(scope="module")
def weights():
  return released.inpaint()


def _params(weights):
  found = matching.match(dit.DIT, matching.shapes_of(weights))
  return matching.to_params(found.with_head_dim(_HEAD_DIM), weights)


def _pairs(weights, seed=0, rank=_RANK):
  """Original name of a module -> random (down, up) of its shape."""
  generator = np.random.default_rng(seed)
  found = {}
  for name in manifest.modules():
    features, width = weights[f"{name}.weight"].shape
    found[name] = tuple(
      generator.normal(size=shape, scale=0.2).astype(np.float32)
      for shape in ((rank, width), (features, rank))
    )
  return found


def _file(dialect, pairs, alpha=None):
  """The tensors of a dialect."""
  prefix, spelt, diffusers, sides = _DIALECTS[dialect]
  tensors = {}
  for name, pair in pairs.items():
    theirs = manifest.modules()[name][2] if diffusers else name
    module = prefix + spelt(theirs)
    tensors |= {f"{module}.{side}": value for side, value in zip(sides, pair)}
    if alpha is not None:
      tensors[f"{module}.alpha"] = np.asarray(alpha, np.float32)
  return tensors


def _sums(weights, changes):
  """Published weights plus changes, name -> array, both in float64."""
  found = dict(weights)
  for name, change in changes.items():
    found[name] = found[name].astype(np.float64) + change
  return found


def _products(pairs, scale):
  """Name of a weight -> change; `scale` is a number or one for each module."""
  return {
    f"{name}.weight": (scale[name] if isinstance(scale, dict) else scale)
    * (up.astype(np.float64) @ down.astype(np.float64))
    for name, (down, up) in pairs.items()
  }


def _assert_merged(weights, found, expected, weight=1.0):
  merged = lora_merging.merge(
    _params(weights), [lora.Weighted(found.lora, weight)], _HEAD_DIM
  )
  ours = matching.flatten(merged)
  theirs = matching.flatten(_params(expected))
  assert ours.keys() == theirs.keys()
  for path, value in theirs.items():
    # Float32 rounding of sums of size 1.
    np.testing.assert_allclose(ours[path], value, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("dialect", _DIALECTS)
def test_every_dialect_merges_to_the_plain_sum(weights, dialect):
  pairs = _pairs(weights)
  alpha = 2.0 if "lora_A" not in _DIALECTS[dialect][3][0] else None
  found = dialects.read(_file(dialect, pairs, alpha))
  assert len(found.lora.modules) == 8 + 12 * manifest.LAYERS
  scale = 1.0 if alpha is None else alpha / _RANK
  expected = _sums(weights, _products(pairs, 0.55 * scale))
  _assert_merged(weights, found, expected, weight=0.55)


def test_spellings_may_be_mixed_in_one_file(weights):
  pairs, tensors = _pairs(weights), {}
  for number, name in enumerate(pairs):
    dialect = list(_DIALECTS)[number % len(_DIALECTS)]
    tensors |= _file(dialect, {name: pairs[name]})
  found = dialects.read(tensors)
  _assert_merged(weights, found, _sums(weights, _products(pairs, 1.0)))


@pytest.mark.parametrize(
  "dtype",
  [
    np.float16,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
    np.float64,
  ],
)
def test_values_of_every_type(weights, dtype, tmp_path):
  pairs = {
    name: tuple(value.astype(dtype) for value in pair)
    for name, pair in _pairs(weights).items()
  }
  path = tmp_path / "a.safetensors"
  tensors = {
    name: LazyArray(v.shape, v.dtype, lambda v=v: v)
    for name, v in _file("comfyui", pairs).items()
  }
  safetensors_files.write(path, tensors)
  found = dialects.load(path)
  _assert_merged(weights, found, _sums(weights, _products(pairs, 1.0)))


def _differences(weights):
  """Full differences as distilled LoRAs hold them, and what they change."""
  generator = np.random.default_rng(5)
  tensors, changes = {}, {}

  def add(module, role, name):
    value = generator.normal(size=weights[name].shape, scale=0.1)
    tensors[f"diffusion_model.{module}.{role}"] = value.astype(np.float32)
    changes[name] = tensors[f"diffusion_model.{module}.{role}"]

  for name in weights:
    module, _, leaf = name.rpartition(".")
    norm = "norm" in name or name.startswith(
      ("img_emb.proj.0", "img_emb.proj.4")
    )
    if leaf == "bias":
      add(module, "diff_b", name)
    elif leaf == "modulation":
      add(module, "diff_m", name)
    elif norm or module in ("patch_embedding", "head.head"):
      add(module, "diff", name)
  return tensors, changes


def test_full_differences_are_applied_beside_pairs(weights):
  pairs = _pairs(weights)
  del pairs["head.head"]  # Which has a full difference instead.
  tensors, changes = _differences(weights)
  found = dialects.read({**_file("comfyui", pairs), **tensors})
  assert len(found.lora.modules) == 7 + 12 * manifest.LAYERS
  assert len(found.lora.differences) == len(tensors)
  kinds = {path.rpartition("/")[2] for path, _ in found.lora.differences}
  assert kinds == {"kernel", "bias", "scale", "modulation"}
  every = {**_products(pairs, 0.7), **{k: 0.7 * v for k, v in changes.items()}}
  _assert_merged(weights, found, _sums(weights, every), weight=0.7)
  text = dialects.describe(found)
  assert f"31 modules and {len(tensors)} full differences" in text


def test_names_of_norms_in_lycoris(weights):
  value = np.linspace(-1, 1, 32).astype(np.float32)
  found = dialects.read(
    {
      "lora_unet_blocks_1_norm3.w_norm": value,
      "lora_unet_blocks_1_norm3.b_norm": -value,
    }
  )
  changes = {"blocks.1.norm3.weight": value, "blocks.1.norm3.bias": -value}
  _assert_merged(weights, found, _sums(weights, changes))


def test_a_bias_of_the_second_matrix_is_scaled_with_it(weights):
  name = "blocks.0.ffn.0"
  pairs = {name: _pairs(weights)[name]}
  bias = np.linspace(-1, 1, 24).astype(np.float32)
  tensors = _file("diffusers", pairs)
  tensors["transformer.blocks.0.ffn.net.0.proj.lora_B.bias"] = bias
  header = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 2})}
  found = dialects.read(tensors, header)
  changes = {**_products(pairs, 0.5), f"{name}.bias": 0.5 * bias}
  _assert_merged(weights, found, _sums(weights, changes))


def test_a_pair_of_a_convolution(weights):
  down = np.random.default_rng(0).normal(size=(3, 36, 1, 2, 2))
  up = np.random.default_rng(1).normal(size=(32, 3, 1, 1, 1))
  down, up = down.astype(np.float32), up.astype(np.float32)
  name = "diffusion_model.patch_embedding"
  found = dialects.read(
    {
      f"{name}.lora_down.weight": down,
      f"{name}.lora_up.weight": up,
      f"{name}.alpha": np.asarray(1.5, np.float32),
    }
  )
  change = 0.5 * np.einsum("or,rcthw->octhw", up[..., 0, 0, 0], down)
  expected = _sums(weights, {"patch_embedding.weight": change})
  _assert_merged(weights, found, expected)


def test_full_differences_are_written_and_read_again(weights, tmp_path):
  tensors, _ = _differences(weights)
  tensors |= _file("comfyui", _pairs(weights), alpha=3.0)
  found = dialects.read(tensors)
  for style in ("original", "kohya", "comfyui"):
    dialects.save(tmp_path / "l.safetensors", found.lora, style)
    again = dialects.load(tmp_path / "l.safetensors")
    assert again.style == style
    for place, value in found.lora.differences.items():
      np.testing.assert_array_equal(again.lora.differences[place], value)
    for place, pair in found.lora.modules.items():
      assert again.lora.modules[place].scale == pair.scale
  with pytest.raises(errors.UserError, match="has no full differences"):
    dialects.write(found.lora, "diffusers")
  with pytest.raises(errors.UserError, match="can only be merged"):
    lora_beside.variables(
      _params(weights), [lora.Weighted(found.lora)], _HEAD_DIM
    )


def test_what_does_not_fit_in_the_type_is_refused(weights):
  name = "blocks.0.ffn.0"
  down, up = _pairs(weights)[name]
  pairs = {name: (down * np.float32(1e30), up * np.float32(1e30))}
  found = dialects.read(_file("bare", pairs), name="huge.safetensors")
  with pytest.raises(errors.UserError) as caught:
    lora_merging.merge(_params(weights), [lora.Weighted(found.lora)], _HEAD_DIM)
  assert "huge.safetensors: blocks/ffn/fc1/kernel of layer 0" in str(
    caught.value
  )
