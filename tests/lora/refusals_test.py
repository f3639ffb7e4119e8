"""LoRA files that are refused, each in one line that names what is wrong."""

import numpy as np
import pytest

from more4d_jax import errors, pipeline
from more4d_jax.checkpoints import stored_arrays
from more4d_jax.lora import dialects, requests

_Q = "diffusion_model.blocks.0.self_attn.q"


def _pair(name=_Q, rank=2, width=64, dtype=np.float32):
  return {
    f"{name}.lora_A.weight": np.ones((rank, width), dtype),
    f"{name}.lora_B.weight": np.ones((width, rank), dtype),
  }


def _with(**more):
  return {**_pair(), **{f"{_Q}.{k}": v for k, v in more.items()}}


def _nan():
  tensors = _pair()
  tensors[f"{_Q}.lora_B.weight"][3, 1] = np.nan
  return tensors


_ONE = np.ones(64, np.float32)
_BAD = {
  "alpha of two": (
    _with(alpha=np.ones(2, np.float32)), "an alpha of shape (2,)"
  ),
  "alpha NaN": (_with(alpha=np.asarray(np.nan)), "q.alpha holds values that"),
  "NaN": (_nan(), "q.lora_B.weight holds values that are not finite"),
  "rank 0": (_pair(rank=0), "self_attn.q has rank 0"),
  "integers": (_pair(dtype=np.int32), "is of the type int32"),
  "DoRA": (_with(dora_scale=_ONE[:, None]), "dora_scale is a DoRA's: it gives"),
  "DoRA of PEFT": (
    _with(**{"lora_magnitude_vector.weight": _ONE}), "is a DoRA's"
  ),
  "LoHa": ({f"{_Q}.hada_w1_a": np.ones((64, 2), np.float32)}, "is a LoHa's"),
  "LoKr": ({f"{_Q}.lokr_w1": np.ones((2, 2), np.float32)}, "is a LoKr's"),
  "Tucker": (_with(**{"lora_mid.weight": np.ones((2, 2))}), "a LoCon's"),
  "whole weight": (_with(weight=np.ones((64, 64))), "is a whole weight"),
  "set weight": (_with(set_weight=np.ones((64, 64))), "replacement of a whole"),
  "half a pair": ({f"{_Q}.lora_A.weight": np.ones((2, 64))}, "lacks its up"),
  "alpha alone": ({f"{_Q}.alpha": np.ones(())}, "lacks its matrices"),
  "two spellings": (
    {**_pair(), **_pair("blocks_0_self_attn_q")}, "for the second time"
  ),
  "two names": (_with(**{"lora_down.weight": np.ones((2, 64))}), "spellings"),
  "no bias there": (
    {"blocks.0.self_attn.norm_q.diff_b": _ONE}, "no bias in the transformer"
  ),
  "axes": ({f"{_Q}.diff": np.ones((64, 64, 1))}, "expected 2 axes"),
  "a norm's pair": (_pair("blocks.0.norm3"), "is no linear map"),
  "another model": (_pair("down_blocks.0.attentions.0.q"), "holds no LoRA"),
}  # fmt: skip


@pytest.mark.parametrize("case", _BAD)
def test_what_a_file_may_not_hold(case):
  tensors, words = _BAD[case]
  with pytest.raises(errors.UserError) as caught:
    dialects.read(tensors, name="bad.safetensors")
  assert words in str(caught.value)
  assert str(caught.value).startswith("bad.safetensors ")
  assert "\n" not in str(caught.value)


def test_many_faults_stay_one_short_line():
  tensors = {}
  for i in range(500):
    tensors |= _pair(f"blocks.{i}.moe.q") | _pair(f"blocks.{i}.ffn.0", 0)
  with pytest.raises(errors.UserError) as caught:
    dialects.read(tensors)
  assert len(str(caught.value)) < 1500
  assert "and 988 more" in str(caught.value)


_MISFITS = {
  "layer 99": (_pair("blocks.99.self_attn.q"), "q of layer 99 does not exist"),
  "width": (_pair(width=32), "maps 32 to 32, expected 64 to 64"),
  "no such map": (
    _pair("blocks.0.cross_attn.k_img"), "k_img of layer 0 is no linear map"
  ),
  "bias": ({f"{_Q}.diff_b": np.ones(7, np.float32)}, "changes by (7,)"),
  "layer of a bias": (
    {"blocks.99.ffn.0.diff_b": _ONE}, "fc1/bias of layer 99 does not exist"
  ),
  "no such norm": (
    {"blocks.0.cross_attn.norm_k_img.diff": _ONE}, "is no parameter of this"
  ),
}  # fmt: skip


@pytest.mark.parametrize("case", _MISFITS)
def test_misfits_are_found_before_a_weight_is_read(
  case, nano_checkpoint, tmp_path, monkeypatch
):
  tensors, words = _MISFITS[case]
  found = dialects.read(tensors, name="bad.safetensors")
  asked = [requests.Request("vism", "bad.safetensors", found, 1.0)]

  def read(*_, **__):
    raise AssertionError("weights are read")

  monkeypatch.setattr(stored_arrays.StoredArray, "__getitem__", read)
  with pytest.raises(errors.UserError) as caught:
    pipeline.load(nano_checkpoint, loras=asked)
  assert words in str(caught.value)
  assert "bad.safetensors is a LoRA for another network" in str(caught.value)
