"""LoRAs beside int8 kernels, against merging them into what these stand for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import more4d_jax
from more4d_jax import errors
from more4d_jax.checkpoints import dtypes, store
from more4d_jax.lora import dialects
from more4d_jax.lora import requests as requests_lib
from more4d_jax.models import backbone, lora, quantised, variants
from more4d_jax.name_maps import matching
from more4d_jax.sampling import networks
from tests import nano_bundle


@pytest.fixture(scope="module")
def network():
  variant = variants.get("nano")
  params = {"dit": nano_bundle.params_of(variant, "vism")["dit"]}
  config = dataclasses.replace(variant.vism, image=None)
  return store.Network("vism", config, params, {})


def _request(params, seed, weight):
  """A LoRA on every linear map, and a full difference of a bias."""
  rng = np.random.default_rng(seed)
  modules = {}
  for path, kernel in lora.linear_maps(params).items():
    *stack, width, features = kernel.shape
    for layer in range(stack[0]) if stack else (None,):
      modules[path, layer] = lora.LowRank(
        rng.normal(size=(width, 2), scale=width**-0.5).astype(np.float32),
        rng.normal(size=(2, features), scale=0.5).astype(np.float32),
        2.0,
      )
  bias = rng.normal(size=64).astype(np.float32)
  changes = {("blocks/ffn/fc2/bias", 1): bias}
  found = dialects.Found(lora.LoRA(f"{seed}", modules, changes), "kohya", 0)
  return requests_lib.Request("vism", f"{seed}.safetensors", found, weight)


@pytest.fixture(scope="module")
def asked(network):
  dit = network.params["dit"]
  return [_request(dit, 0, 0.55), _request(dit, 1, -1.5)]


def _velocity(network, params=None):
  rng = np.random.default_rng(0)
  dit = network.config.dit
  draw = lambda *shape: jnp.asarray(rng.normal(size=(1, *shape)), jnp.float32)  # noqa: E731
  module = backbone.WanDiT(dit)
  params = _read(params or network.params["dit"])
  model = networks.BoundModule(params, module)
  inputs = draw(1, 4, 4, 36), jnp.array([300.0]), draw(5, dit.text_width)
  return jax.jit(lambda model: model(*inputs))(model)


def _read(params):
  return jax.tree.map(np.asarray, params)


def _relative(found, expected):
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_loras_are_added_exactly_to_int8(network, asked):
  beside = requests_lib.apply({"vism": network}, asked, beside=True)["vism"]
  assert [row["weight"] for row in beside.metadata["loras"]] == [0.55, -1.5]
  params = quantised.params(_read(beside.params["dit"]))
  # The kernels are those without any LoRA.
  plain = matching.flatten(quantised.params(network.params["dit"]))
  flat = matching.flatten(params)
  for path, value in plain.items():
    if path != "blocks/ffn/fc2/bias":
      np.testing.assert_array_equal(flat[path], value)
  stood_for = dict(plain)
  for path in filter(quantised.is_meant, plain):
    scale = stood_for.pop(quantised.scale_path(path))
    stood_for[path] = plain[path].astype(np.float32) * scale[..., None, :]
  exact = dataclasses.replace(
    network, params={"dit": matching.unflatten(stood_for)}
  )
  merged = requests_lib.apply({"vism": exact}, asked)["vism"]
  expected = _velocity(merged)
  changed = _relative(_velocity(exact), expected)
  assert changed > 0.1
  # Two orders of the same float32 products and sums.
  assert _relative(_velocity(network, params), expected) < 1e-4 * changed


def test_with_loras_int8_is_as_near_as_without(network, asked):
  requests = {"without": [], "with": asked}
  for mine in requests.values():
    merged = requests_lib.apply({"vism": network}, mine)["vism"]
    beside = requests_lib.apply({"vism": network}, mine, beside=True)
    eight = dtypes.cast(beside, "int8")["vism"]
    assert eight.config.dit.dtype == "bfloat16"
    assert 1e-3 < _relative(_velocity(eight), _velocity(merged)) < 0.02


def test_what_is_int8_on_disk_takes_loras_without_being_told(network, asked):
  eight = dtypes.cast({"vism": network}, "int8")
  found = requests_lib.apply(eight, asked)["vism"]
  told = dtypes.cast(
    requests_lib.apply({"vism": network}, asked, beside=True), "int8"
  )["vism"]
  ours, theirs = (matching.flatten(n.params) for n in (found, told))
  assert set(ours) == set(theirs)
  changed = "dit/blocks/ffn/fc2/bias"  # It was rounded before, not after.
  for path in set(ours) - {changed}:
    assert ours[path].dtype == theirs[path].dtype
    np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)
  # Two roundings to eight bits instead of one.
  np.testing.assert_allclose(
    ours[changed][...].astype(np.float32),
    theirs[changed][...].astype(np.float32),
    atol=0.02,
  )


def test_full_differences_of_int8_kernels_are_refused(network):
  dit = network.params["dit"]
  change = np.ones(dit["blocks"]["ffn"]["fc1"]["kernel"].shape[1:], np.float32)
  made = lora.LoRA("d", {}, {("blocks/ffn/fc1/kernel", 0): change})
  request = requests_lib.Request(
    "vism", "d", dialects.Found(made, "kohya", 0), 1.0
  )
  # At load the difference is added before.
  added = requests_lib.apply({"vism": network}, [request], beside=True)["vism"]
  kernels = (
    n.params["dit"]["blocks"]["ffn"]["fc1"]["kernel"] for n in (added, network)
  )
  np.testing.assert_allclose(next(kernels)[0] - next(kernels)[0], 1, atol=1e-6)
  eight = dtypes.cast({"vism": network}, "int8")
  with pytest.raises(
    errors.UserError, match="cannot be added to int8 weights: use"
  ) as caught:
    requests_lib.apply(eight, [request])
  assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_scene_in_int8_is_near_that_of_merged_weights(
  nano_checkpoint, network, asked, tmp_path
):
  files = []
  for request in asked:  # Their shapes are those of vism: strag has more maps.
    file = tmp_path / request.file
    dialects.save(file, request.found.lora, "original")
    files.append(f"strag={file}:{request.weight}")
  loras = requests_lib.parse(files)
  picture = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
  depth = np.full((32, 48), 2.0, np.float32)
  tracks = {}
  for name, changes, dtype in (
    ("plain", (), None),
    ("merged", loras, None),
    ("int8", loras, "int8"),
  ):
    loaded = more4d_jax.load(
      nano_checkpoint, {"num_steps": 1}, changes, dtype=dtype
    )
    tracks[name] = loaded(picture, "a ball", depth).tracks
  changed = np.abs(tracks["merged"] - tracks["plain"]).mean()
  off = np.abs(tracks["int8"] - tracks["merged"]).mean()
  assert 0 < off < 0.1 * changed  # 0.03 as measured.
