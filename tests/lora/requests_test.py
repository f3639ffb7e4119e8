"""LoRA files named by a user, on networks of the size nano."""

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.checkpoints import store
from more4d_jax.lora import dialects
from more4d_jax.lora import requests as requests_lib
from more4d_jax.models import lora, variants
from tests import nano_bundle


def random_lora(params, rank=2, seed=0):
  """A LoRA on every linear map of a transformer."""
  rng = np.random.default_rng(seed)
  modules = {}
  for path, kernel in lora.linear_maps(params).items():
    *stack, width, features = kernel.shape
    for layer in range(stack[0]) if stack else (None,):
      modules[path, layer] = lora.LowRank(
        rng.normal(size=(width, rank)).astype(np.float32),
        rng.normal(size=(rank, features)).astype(np.float32),
        float(rank) / 2,
      )
  return lora.LoRA("random", modules)


@pytest.fixture(scope="module")
def network():
  variant = variants.get("nano")
  params = nano_bundle.params_of(variant, "vism")
  metadata = nano_bundle.metadata_of(variant, "vism")
  return store.Network("vism", variant.vism, params, metadata)


@pytest.fixture
def files(network, tmp_path):
  for seed, name in enumerate(("a", "b")):
    made = random_lora(network.params["dit"], seed=seed)
    dialects.save(tmp_path / f"{name}.safetensors", made, "kohya")
  return tmp_path


def test_files_add_up_and_are_reported(network, files):
  texts = f"{files}/a.safetensors:0.55", f"vism={files}/b.safetensors"
  requests = requests_lib.parse(texts)
  assert [(r.kind, r.weight) for r in requests] == [("vism", 0.55), ("vism", 1)]
  count = len(requests[0].found.lora.modules)
  assert f"a.safetensors: {count} modules for vism, weight 0.55" in (
    requests_lib.describe(requests[0])
  )
  changed = requests_lib.apply({"vism": network}, requests)["vism"]
  assert [row["modules"] for row in changed.metadata["loras"]] == [count, count]
  assert "loras" not in network.metadata
  assert changed.params["text_encoder"] is network.params["text_encoder"]
  place = ("blocks/self_attn/o", 1)
  expected = network.params["dit"]["blocks"]["self_attn"]["o"]["kernel"][1]
  for seed, weight in ((0, 0.55), (1, 1.0)):
    pair = random_lora(network.params["dit"], seed=seed).modules[place]
    expected = expected + weight * 0.5 * (pair.down @ pair.up)
  found = changed.params["dit"]["blocks"]["self_attn"]["o"]["kernel"][1]
  np.testing.assert_allclose(found, expected, atol=1e-5)  # Float32 sums.


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("vae={}/a.safetensors", "expected vism or strag before ="),
    ("{}/a.safetensors:much", "found 'much'"),
    ("{}/a.safetensors:inf", "found 'inf'"),
    ("{}/c.safetensors", "found no"),
  ],
)
def test_mistakes_are_one_line(files, text, words):
  with pytest.raises(errors.UserError, match=words) as caught:
    requests_lib.parse([text.format(files)])
  assert "\n" not in str(caught.value)


def test_any_letter_may_stand_in_a_file_name(files):
  odd = files / "vae=a, b:0.5.safetensors"
  (files / "a.safetensors").rename(odd)
  for text, weight in ((f"{odd}", 1), (f"{odd}:0.25", 0.25)):
    assert requests_lib.names_file(text)
    assert requests_lib.names_file(f"strag={text}")
    (request,) = requests_lib.parse([text])
    assert (request.kind, request.file, request.weight) == (
      "vism", str(odd), weight,
    )  # fmt: skip
  assert not requests_lib.names_file(f"{files}/c.safetensors:1")


def test_a_checkpoint_without_the_network(network, files):
  requests = requests_lib.parse([f"strag={files}/a.safetensors"])
  with pytest.raises(errors.UserError, match="does not have; it has vism"):
    requests_lib.apply({"vism": network}, requests)


def test_a_distilled_lora_is_counted_in_the_metadata(network):
  bias = np.linspace(-1, 1, 64).astype(np.float32)
  name = "diffusion_model.blocks.1.self_attn.o"
  found = dialects.read(
    {
      f"{name}.diff_b": bias,
      f"{name}.lora_down.weight": np.ones((2, 64), np.float32),
      f"{name}.lora_up.weight": np.ones((64, 2), np.float32),
    }
  )
  asked = requests_lib.Request("vism", "d.safetensors", found, 0.5)
  changed = requests_lib.apply({"vism": network}, [asked])["vism"]
  assert changed.metadata["loras"] == [
    {"file": "d.safetensors", "weight": 0.5, "modules": 1, "differences": 1}
  ]
  before, after = (
    n.params["dit"]["blocks"]["self_attn"]["o"]["bias"]
    for n in (network, changed)
  )
  np.testing.assert_array_equal(after[0], before[0])
  np.testing.assert_allclose(after[1], before[1] + 0.5 * bias, atol=1e-6)
