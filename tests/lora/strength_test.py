"""Options of files that say how strong a LoRA is, and what they may not say."""

import json
import math

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.lora import dialects

_Q, _K, _FFN = (
  "blocks.0.attn1.to_q",
  "blocks.1.attn1.to_k",
  "blocks.1.ffn.net.2",
)
_PLACES = {
  _Q: ("blocks/self_attn/q", 0),
  _K: ("blocks/self_attn/k", 1),
  _FFN: ("blocks/ffn/fc2", 1),
}
_RANKS = {_Q: 4, _K: 9, _FFN: 4}


def _file(prefix="transformer.", alpha=None):
  tensors = {}
  for name, rank in _RANKS.items():
    tensors[f"{prefix}{name}.lora_A.weight"] = np.ones((rank, 8), np.float32)
    tensors[f"{prefix}{name}.lora_B.weight"] = np.ones((8, rank), np.float32)
    if alpha is not None:
      tensors[f"{prefix}{name}.alpha"] = np.asarray(alpha, np.float32)
  return tensors


def _scales(header=None, beside=None, **file):
  modules = dialects.read(_file(**file), header, "f", beside).lora.modules
  return [modules[_PLACES[name]].scale for name in (_Q, _K, _FFN)]


def _peft(**values):
  """A header as diffusers writes it."""
  named = {f"transformer.{name}": value for name, value in values.items()}
  return {"lora_adapter_metadata": json.dumps(named)}


# Header, and the scales of the ranks 4, 9 and 4 that follow from it.
_HEADERS = {
  "nothing": ({}, [1, 1, 1]),
  "alpha": (_peft(lora_alpha=8), [2, 8 / 9, 2]),
  "rslora": (_peft(lora_alpha=8, use_rslora=True), [4, 8 / 3, 4]),
  "not rslora": (_peft(lora_alpha=8, use_rslora=False), [2, 8 / 9, 2]),
  "suffix": (
    _peft(lora_alpha=8, alpha_pattern={"attn1.to_k": 18}), [2, 2, 2]
  ),
  "last part": (
    _peft(lora_alpha=8, alpha_pattern={"to_q": 12, "to_k": 18}), [3, 2, 2]
  ),
  "whole name": (
    _peft(lora_alpha=8, alpha_pattern={f"{_FFN}": 20}), [2, 8 / 9, 5]
  ),
  "expression": (
    _peft(lora_alpha=8, alpha_pattern={r"blocks\.[01]\.attn1\.to_(q|k)": 36}),
    [9, 4, 2],
  ),
  "first of two": (
    _peft(lora_alpha=8, alpha_pattern={".*to_q": 4, "to_q": 12}), [1, 8 / 9, 2]
  ),
  "no suffix of a part": (
    _peft(lora_alpha=8, alpha_pattern={"o_q": 12}), [2, 8 / 9, 2]
  ),
  "original name": (
    _peft(lora_alpha=8, alpha_pattern={"blocks.0.self_attn.q": 12}),
    [3, 8 / 9, 2],
  ),
  "ranks": (
    _peft(lora_alpha=8, r=4, rank_pattern={"attn1.to_k": 9}), [2, 8 / 9, 2]
  ),
  "all of it": (
    _peft(
      lora_alpha=8, r=4, rank_pattern={"to_k": 9}, alpha_pattern={"to_k": 6},
      use_rslora=True,
    ),
    [4, 2, 4],
  ),
  "flat strings": (
    {"lora_alpha": "8", "use_rslora": "True", "alpha_pattern": '{"to_k": 6}'},
    [4, 2, 4],
  ),
  "object of a trainer": (
    {"lora_config": json.dumps({"r": 4, "lora_alpha": 8,
                                "rank_pattern": {"to_k": 9}})},
    [2, 8 / 9, 2],
  ),
  "kohya": ({"ss_network_alpha": "18.0", "ss_network_dim": "4"}, [4.5, 2, 4.5]),
  "kohya without": ({"ss_network_alpha": "None"}, [1, 1, 1]),
  "other parts": (
    {"lora_adapter_metadata": json.dumps({"text_encoder.lora_alpha": 99})},
    [1, 1, 1],
  ),
}  # fmt: skip


@pytest.mark.parametrize("case", _HEADERS)
def test_options_of_headers(case):
  header, expected = _HEADERS[case]
  np.testing.assert_allclose(_scales(header), expected, rtol=1e-12)


def test_options_beside_the_file(tmp_path):
  tensors = _file("base_model.model.")
  path = tmp_path / "adapter_model.safetensors"
  made = dialects.read(tensors).lora
  dialects.save(path, made, "diffusers")
  assert dialects.load(path).lora.modules[_PLACES[_Q]].scale == 1
  config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": True}
  config["rank_pattern"] = {"to_k": 9}
  (tmp_path / "adapter_config.json").write_text(json.dumps(config))
  found = dialects.load(path).lora.modules
  scales = [found[_PLACES[name]].scale for name in (_Q, _K, _FFN)]
  np.testing.assert_allclose(scales, [4, 8 / 3, 4], rtol=1e-12)
  (tmp_path / "adapter_config.json").write_text("{")
  with pytest.raises(errors.UserError, match=r"adapter_config.json is damaged"):
    dialects.load(path)


def test_tensors_of_alpha_count_before_the_header():
  assert _scales(_peft(lora_alpha=99), alpha=2) == [0.5, 2 / 9, 0.5]
  header = _peft(lora_alpha=99, use_rslora=True)
  np.testing.assert_allclose(_scales(header, alpha=2), [1, 2 / 3, 1])
  assert _scales({"ss_network_alpha": "Dynamic"}, alpha=2)[0] == 0.5


def test_a_stabilised_scale_survives_writing():
  header = _peft(lora_alpha=8, use_rslora=True)
  made = dialects.read(_file(), header).lora
  for style in dialects.STYLES:
    tensors, again = dialects.write(made, style)
    modules = dialects.read(tensors, again).lora.modules
    assert modules[_PLACES[_K]].scale == pytest.approx(8 / 3, rel=1e-7)


_BAD = {
  "another rank": (_peft(lora_alpha=8, r=8), "rank 4, its header says 8"),
  "no alpha": (_peft(use_rslora=True), "use_rslora without lora_alpha"),
  "alpha in words": (_peft(lora_alpha="much"), "lora_alpha 'much'"),
  "alpha NaN": (_peft(lora_alpha=math.nan), "lora_alpha 'nan'"),
  "truth in words": (
    _peft(lora_alpha=8, use_rslora="maybe"), "expected true or false"
  ),
  "pattern of a list": (_peft(alpha_pattern=[1]), "expected an object"),
  "pattern of words": (_peft(alpha_pattern={"q": "x"}), "alpha_pattern q 'x'"),
  "slow pattern": (_peft(alpha_pattern={"(a+)+b": 1}), "simple regular"),
  "wrong pattern": (_peft(alpha_pattern={"(": 1}), "simple regular"),
  "DoRA": (_peft(use_dora=True), "is a DoRA: it gives"),
  "PiSSA": (_peft(init_lora_weights="pissa_niter_4"), "pissa_niter_4"),
  "damaged": ({"lora_adapter_metadata": "{"}, "is damaged"),
  "deep": ({"lora_adapter_metadata": "[" * 100_000}, "is damaged"),
  "a list": ({"lora_adapter_metadata": "[]"}, "is no JSON object"),
  "kohya's": ({"ss_network_alpha": "Dynamic"}, "ss_network_alpha is 'Dynamic'"),
}  # fmt: skip


@pytest.mark.parametrize("case", _BAD)
def test_options_that_make_no_sense(case):
  header, words = _BAD[case]
  with pytest.raises(errors.UserError) as caught:
    _scales(header)
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)
