"""Int8 kernels against what they stand for, in plain arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from more4d_jax import errors, partitioning
from more4d_jax.models import backbone, layers, lora, quantised, strag, variants
from more4d_jax.models.encoders import image, text
from tests.models import random_params


def _flat(tree):
  return traverse_util.flatten_dict(tree, sep="/")


def _meant(params):
  """The parameters whose kernels hold the values that int8 stands for."""
  flat = _flat(quantised.params(params))
  for path in filter(quantised.is_meant, list(flat)):
    scale = flat.pop(quantised.scale_path(path))
    flat[path] = flat[path].astype(np.float32) * scale[..., None, :]
  return traverse_util.unflatten_dict(flat, sep="/")


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_each_value_is_the_nearest_of_its_output(dtype):
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=(3, 40, 6)) * 10.0 ** np.arange(-3, 3)
  kernel[1, :, 2] = 0
  kernel = kernel.astype(dtype)
  numbers, scale = quantised.quantise(kernel)
  assert (numbers.dtype, scale.dtype) == (np.int8, np.float32)
  exact = kernel.astype(np.float64)
  distance = np.abs(numbers * scale[..., None, :].astype(np.float64) - exact)
  assert (distance <= 0.5 * scale[..., None, :] * (1 + 1e-5)).all()
  largest = np.abs(numbers.astype(int)).max(axis=1)
  assert (np.delete(largest, 8) == 127).all()  # Its largest value uses all.
  assert not numbers[1, :, 2].any()


def test_layers_are_quantised_one_by_one():
  kernel = np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32)
  numbers, scale = quantised.quantise(kernel)
  for i, layer in enumerate(kernel):
    alone = quantised.quantise(layer)
    np.testing.assert_array_equal(numbers[i], alone[0])
    np.testing.assert_array_equal(scale[i], alone[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
  kernel = np.ones((4, 3), np.float32)
  kernel[2, 1] = value
  with pytest.raises(errors.UserError, match="finite values in the map, found"):
    quantised.quantise(kernel, "the map")


_CONFIG = backbone.DiTConfig(
  width=32,
  ffn_width=48,
  num_heads=2,
  num_layers=3,
  in_channels=8,
  out_channels=4,
  text_width=6,
  text_length=5,
  frequency_width=8,
  image_width=10,
  motion_width=6,
  motion_grid=(2, 3),
)


@pytest.fixture(scope="module")
def network():
  """Boxed shapes of a transformer, and its call."""
  model, rng = backbone.WanDiT(_CONFIG), np.random.default_rng(1)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)

  inputs = normal(2, 4, 4, 8), jnp.array([300.0, 700.0]), normal(5, 6)
  given = {"image_context": normal(3, 10), "motion_features": normal(6, 6)}
  boxed = jax.eval_shape(model.init, jax.random.key(0), *inputs, **given)
  apply = jax.jit(model.apply)
  return boxed["params"], lambda params: apply(
    {"params": params}, *inputs, **given
  )


def test_a_network_computes_with_the_values_that_int8_stands_for(network):
  boxed, call = network
  params = random_params.spread(partitioning.unbox(boxed))
  found = call(quantised.params(params))
  expected = call(_meant(params))
  # Numbers and scales are multiplied in another order.
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.std(expected))
  exact = call(params)
  assert np.abs(found - exact).max() > 1e-3 * np.std(exact)


def test_shapes_are_those_of_quantised_parameters(network):
  boxed, _ = network
  made = quantised.params(random_params.spread(partitioning.unbox(boxed)))
  expected = quantised.shapes(boxed)
  assert _flat(jax.tree.map(lambda x: (x.shape, x.dtype), made)) == _flat(
    jax.tree.map(lambda x: (x.shape, x.dtype), partitioning.unbox(expected))
  )
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(1, 2, 1, 2), jax.devices()[:4]
  )
  parts = _flat(partitioning.shardings(mesh, expected))
  for name, kernel, scale in (
    ("fc1", (None, "fsdp", "tensor"), (None, "tensor")),
    ("fc2", (None, "tensor", "fsdp"), (None, "fsdp")),
  ):
    place = f"blocks/ffn/{name}"
    assert tuple(parts[f"{place}/kernel"].spec) == kernel
    assert tuple(parts[f"{place}/kernel_scale"].spec) == scale


def test_only_kernels_of_layers_become_int8(network):
  boxed, _ = network
  flat = _flat(partitioning.unbox(quantised.shapes(boxed)))
  chosen = {path for path, leaf in flat.items() if leaf.dtype == np.int8}
  assert len(chosen) == 4 + 6 + 2 + 2  # Attentions, MLP, motion features.
  assert all(path.startswith("blocks/") for path in chosen)


def test_a_sharded_network_gives_the_same(network):
  boxed, call = network
  params = quantised.params(random_params.spread(partitioning.unbox(boxed)))
  expected = call(params)
  mesh = partitioning.make_mesh(partitioning.MeshConfig(1, 2, 2, 2))
  places = partitioning.shardings(mesh, quantised.shapes(boxed))
  with jax.set_mesh(mesh):
    found = call(jax.device_put(params, places))
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.std(expected))


@pytest.mark.parametrize(
  ("model", "example"),
  [
    (
      text.TextEncoder(
        text.TextEncoderConfig(
          vocabulary=50,
          length=6,
          width=32,
          attention_width=32,
          ffn_width=48,
          num_heads=2,
          num_layers=3,
        )
      ),
      jnp.arange(12).reshape(2, 6) % 7,
    ),
    (
      image.ImageEncoder(
        image.ImageEncoderConfig(
          patch=4,
          width=32,
          num_layers=3,
          num_heads=2,
          mlp_width=64,
          image_size=16,
        )
      ),
      jnp.linspace(0, 1, 2 * 16 * 16 * 3).reshape(2, 16, 16, 3),
    ),
  ],
  ids=["text", "image"],
)
def test_encoders_lose_little(model, example):
  shapes = jax.eval_shape(model.init, jax.random.key(0), example)["params"]
  params = random_params.spread(partitioning.unbox(shapes))
  apply = jax.jit(model.apply)
  exact = apply({"params": params}, example)
  found = apply({"params": quantised.params(params)}, example)
  assert 1e-4 < _relative(found, exact) < 0.02


def _relative(found, expected):
  difference = np.asarray(found, np.float64) - np.asarray(expected, np.float64)
  return np.linalg.norm(difference) / np.linalg.norm(expected)


@pytest.mark.slow  # Half a minute: 60 million parameters, two programs.
def test_the_velocity_at_size_small_changes_by_less_than_two_percent():
  variant = variants.get("small")
  config = dataclasses.replace(variant.strag, image=None)
  model, rng = strag.STraG(config), np.random.default_rng(2)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=(1, *shape)), jnp.float32)

  latents = normal(*variant.latent_grid, 16)
  dit = config.dit
  given = strag.STraGConditions(
    text_context=normal(dit.text_length, dit.text_width),
    control=normal(*variant.latent_grid, 16),
    depth=normal(*variant.latent_grid, 16),
    reference=latents[:, 0],
    motion_features=normal(np.prod(dit.motion_grid), dit.motion_width),
  )
  boxed = jax.eval_shape(
    model.init, jax.random.key(0), latents, jnp.ones(1), given
  )["params"]
  params = random_params.spread(partitioning.unbox(boxed))
  apply = jax.jit(model.apply)
  exact = apply({"params": params}, latents, jnp.array([500.0]), given)
  found = apply(
    {"params": quantised.params(params)}, latents, jnp.array([500.0]), given
  )
  assert 1e-3 < _relative(found, exact) < 0.02


def test_a_lora_stands_exactly_beside_int8():
  rng = np.random.default_rng(3)
  layer = layers.Dense(7, ("embed", "mlp"), "float32")
  x = jnp.asarray(rng.normal(size=(4, 9)), jnp.float32)
  down = rng.normal(size=(9, 2)).astype(np.float32)
  up = rng.normal(size=(2, 7)).astype(np.float32)
  pair = {lora.COLLECTION: {"down": down, "up": up}}
  rows = {"kernel": np.zeros((9, 7), np.float32), "bias": np.zeros(7)}
  alone = layer.apply({"params": rows, **pair}, x)
  empty, scale = quantised.quantise(rows["kernel"])
  found = layer.apply(
    {"params": {**rows, "kernel": empty, "kernel_scale": scale}, **pair}, x
  )
  np.testing.assert_array_equal(found, alone)
  rows["kernel"] = rng.normal(size=(9, 7)).astype(np.float32)
  numbers, scale = quantised.quantise(rows["kernel"])
  both = {"params": {**rows, "kernel": numbers, "kernel_scale": scale}, **pair}
  merged = {"params": {**rows, "kernel": rows["kernel"] + down @ up}}
  found, expected = layer.apply(both, x), layer.apply(merged, x)
  # Half a step in each of nine products of the size of one.
  bound = 0.5 * np.abs(x).sum(axis=1)[:, None] * scale + 1e-5
  assert (np.abs(found - expected) <= bound).all()
  assert np.abs(found - expected).max() > 1e-4
