"""LoRA against plain matrix arithmetic, merged and beside the products."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from more4d_jax import errors, partitioning
from more4d_jax.models import backbone, lora, lora_beside, lora_merging

_CONFIG = backbone.DiTConfig(
  width=16,
  ffn_width=24,
  num_heads=2,
  num_layers=3,
  in_channels=8,
  out_channels=4,
  text_width=6,
  text_length=5,
  frequency_width=8,
  image_width=10,
  attention="reference",
)
_MODULES_OUTSIDE, _MODULES_PER_LAYER = 8, 12
_HEAD_DIM = 8
# Where each value of two published heads goes, written out by hand.
_ORDER = [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]


def _inputs():
  rng = np.random.default_rng(7)
  shapes = {"latents": (1, 2, 4, 4, 8), "text": (1, 5, 6), "image": (1, 3, 10)}
  return {
    k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()
  }


@functools.partial(jax.jit, static_argnames="config")
def _apply(params, config=_CONFIG, **collections):
  inputs = _inputs()
  return backbone.WanDiT(config).apply(
    {"params": params, **collections},
    inputs["latents"],
    jnp.asarray([300.0]),
    inputs["text"],
    image_context=inputs["image"],
  )


def _initialise():
  inputs = _inputs()
  return backbone.WanDiT(_CONFIG).init(
    jax.random.key(0),
    inputs["latents"],
    jnp.asarray([300.0]),
    inputs["text"],
    image_context=inputs["image"],
  )["params"]


@pytest.fixture(scope="module")
def params():
  made = jax.eval_shape(_initialise)
  rng = np.random.default_rng(1)  # Maps that start at zero would hide changes.
  return jax.tree.map(
    lambda x: rng.normal(size=x.shape, scale=0.2).astype(np.float32),
    partitioning.unbox(made),
  )


@pytest.fixture(scope="module")
def boxed():
  return jax.eval_shape(_initialise)


def _fresh(boxed):
  return partitioning.unbox(lora.init(jax.random.key(3), boxed, rank=4))


def _random(params, name, rank, seed, keep=lambda path, layer: True):
  rng = np.random.default_rng(seed)
  modules = {}
  for path, kernel in lora.linear_maps(params).items():
    *stack, width, features = kernel.shape
    for layer in range(stack[0]) if stack else (None,):
      if keep(path, layer):
        modules[path, layer] = lora.LowRank(
          rng.normal(size=(width, rank)).astype(np.float32),
          rng.normal(size=(rank, features), scale=0.1).astype(np.float32),
          alpha=0.5 * rank,
        )
  return lora.LoRA(name, modules)


def _two(params):
  whole = _random(params, "whole", 3, 0)
  some = _random(
    params,
    "some",
    2,
    1,
    lambda path, layer: layer == 1 or path == "head/linear",
  )
  return [lora.Weighted(whole, 0.55), lora.Weighted(some, -1.5)]


def test_every_linear_map_is_a_target(params):
  count = _MODULES_OUTSIDE + _MODULES_PER_LAYER * _CONFIG.num_layers
  assert len(_random(params, "all", 1, 0).modules) == count
  flat = traverse_util.flatten_dict(params, sep="/")
  assert flat["patch_embed/kernel"].ndim == 5  # A convolution is none.
  assert "patch_embed" not in lora.linear_maps(params)


def test_merge_is_the_plain_sum_and_reports_its_modules(params):
  chosen = _two(params)
  before = jax.tree.map(np.copy, params)
  merged = lora_merging.merge(params, chosen, _HEAD_DIM)
  counts = [item.lora.size for item in chosen]
  assert counts == [_MODULES_OUTSIDE + 36, _MODULES_PER_LAYER + 1]
  jax.tree.map(np.testing.assert_array_equal, params, before)
  found = traverse_util.flatten_dict(merged, sep="/")
  expected = traverse_util.flatten_dict(before, sep="/")
  expected = {k: v.astype(np.float64) for k, v in expected.items()}
  for item in chosen:
    for (path, layer), pair in item.lora.modules.items():
      change = (
        item.weight
        * 0.5
        * (pair.down.astype(np.float64) @ pair.up.astype(np.float64))
      )
      if path in ("blocks/self_attn/q", "blocks/self_attn/k"):
        change = change[:, _ORDER]
      kernel = expected[f"{path}/kernel"]
      kernel[() if layer is None else layer] += change
  for path, value in expected.items():
    # Float32 rounding of sums of size 1.
    np.testing.assert_allclose(found[path], value, atol=1e-6)


@pytest.mark.parametrize("remat", ["none", "full"])
def test_unmerged_equals_merged(params, remat):
  chosen = _two(params)
  config = dataclasses.replace(_CONFIG, remat=remat)
  merged = lora_merging.merge(params, chosen, _HEAD_DIM)
  beside = _apply(
    params, config, lora=lora_beside.variables(params, chosen, _HEAD_DIM)
  )
  expected = _apply(merged, config)
  changed = np.abs(expected - _apply(params, config)).max()
  assert changed > 0.1
  # Two orders of the same float32 sums through three layers.
  np.testing.assert_allclose(beside, expected, atol=2e-5 * float(changed))


def test_each_kernel_is_rounded_once(params):
  low = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), params)
  chosen = _two(params)
  merged = lora_merging.merge(low, chosen, _HEAD_DIM)
  exact = lora_merging.merge(
    jax.tree.map(lambda x: x.astype(np.float32), low), chosen, _HEAD_DIM
  )
  for ours, theirs in zip(jax.tree.leaves(merged), jax.tree.leaves(exact)):
    assert ours.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(ours, theirs.astype(ml_dtypes.bfloat16))


def test_fresh_lora_changes_nothing_and_learns(params, boxed):
  tree = _fresh(boxed)
  np.testing.assert_array_equal(_apply(params, lora=tree), _apply(params))
  down = np.asarray(tree["head"]["linear"]["down"])
  assert 0.15 < np.abs(down).max() <= 16**-0.5

  def loss(tree):
    return jnp.mean(jnp.square(_apply(params, lora=tree)))

  grads = traverse_util.flatten_dict(jax.grad(loss)(tree), sep="/")
  ups = {k: np.asarray(g) for k, g in grads.items() if k.endswith("/up")}
  assert all(np.abs(g).max() > 0 for g in ups.values())
  assert ups["blocks/ffn/fc1/up"].shape == (3, 4, 24)


def test_trained_tree_becomes_a_file_of_layers(params, boxed):
  tree = jax.tree.map(lambda x: x + 0.1, _fresh(boxed))
  found = lora.from_trained("mine", tree, 2.0, _HEAD_DIM)
  assert len(found.modules) == _MODULES_OUTSIDE + 36
  again = lora_beside.variables(params, [lora.Weighted(found)], _HEAD_DIM)
  # Alpha 2 of rank 4: the scale is part of the up matrices.
  applied = lora.scaled(tree, lora.LoRAConfig(rank=4, alpha=2.0))
  applied = traverse_util.flatten_dict(applied, sep="/")
  flat = traverse_util.flatten_dict(tree, sep="/")
  for path, value in traverse_util.flatten_dict(again, sep="/").items():
    factor = 0.5 if path.endswith("/up") else 1.0
    np.testing.assert_allclose(value, factor * flat[path], rtol=1e-6)
    np.testing.assert_allclose(value, applied[path], rtol=1e-6)


def test_a_trained_lora_is_written_in_the_published_order(params, boxed):
  rng = np.random.default_rng(4)
  tree = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), _fresh(boxed)
  )
  found = lora.from_trained("mine", tree, 4.0, _HEAD_DIM).modules
  for layer in range(3):
    for name in "qk":
      ours = tree["blocks"]["self_attn"][name]["up"][layer]
      written = found[f"blocks/self_attn/{name}", layer].up
      np.testing.assert_array_equal(written[:, _ORDER], ours)
    for kind, name in (("self_attn", "v"), ("cross_attn", "q")):
      ours = tree["blocks"][kind][name]["up"][layer]
      written = found[f"blocks/{kind}/{name}", layer].up
      np.testing.assert_array_equal(written, ours)
  again = lora_beside.variables(
    params, [lora.Weighted(lora.LoRA("mine", found))], _HEAD_DIM
  )
  jax.tree.map(np.testing.assert_array_equal, again, tree)


def test_a_fresh_lora_lies_as_its_kernels_do(boxed):
  tree = jax.eval_shape(lambda: lora.init(jax.random.key(3), boxed, rank=4))
  kernel = boxed["blocks"]["ffn"]["fc1"]["kernel"].names
  pair = tree["blocks"]["ffn"]["fc1"]
  assert pair["down"].names == (*kernel[:2], None)
  assert pair["up"].names == (kernel[0], None, kernel[2])
  assert pair["up"].value.shape == (3, 4, 24)


def test_a_lora_for_another_base_lists_everything(params):
  wide = lora.LowRank(np.zeros((20, 2)), np.zeros((2, 16)), 2.0)
  right = lora.LowRank(np.zeros((16, 2)), np.zeros((2, 16)), 2.0)
  wrong = lora.LoRA(
    "other.safetensors",
    {
      ("blocks/self_attn/q", 0): right,
      ("blocks/self_attn/q", 1): wide,
      ("blocks/self_attn/k", 3): right,
      ("blocks/moe/gate", 0): right,
    },
  )
  for function in (lora_merging.merge, lora_beside.variables):
    with pytest.raises(errors.UserError) as caught:
      function(params, [lora.Weighted(wrong)], _HEAD_DIM)
    text = str(caught.value)
    assert "\n" not in text
    for part in (
      "other.safetensors is a LoRA for another network, 3 of its 4 modules",
      "blocks/self_attn/q of layer 1 maps 20 to 16, expected 16 to 16",
      "blocks/self_attn/k of layer 3 does not exist, there are 3 layers",
      "blocks/moe/gate of layer 0 is no linear map of this network",
    ):
      assert part in text
