import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.kernels.attention import dispatch
from more4d_jax.models import backbone, blocks
from tests.models import random_params

CONFIG = backbone.DiTConfig(
  width=32,
  ffn_width=48,
  num_heads=2,
  num_layers=2,
  in_channels=8,
  out_channels=4,
  text_width=12,
  text_length=6,
  frequency_width=16,
  image_width=10,
  image_tokens=3,
  reference=True,
  motion_width=8,
  motion_grid=(2, 3),
  remat="none",
)
GRID = (2, 4, 6)


def _inputs(seed=0):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  return {
    "latents": draw(2, *GRID, 4),
    "timestep": jnp.array([900.0, 120.5]),
    "text_context": draw(2, 6, 12),
    "condition_latents": draw(2, *GRID, 4),
    "reference_latent": draw(2, *GRID[1:], 4),
    "image_context": draw(2, 3, 10),
    "motion_features": draw(2, 6, 8),
  }


@functools.cache
def _network():
  model = backbone.WanDiT(CONFIG)
  params = random_params.draw(model, **_inputs())
  return jax.jit(model.apply, static_argnames="sequence_length"), params


def test_scanned_layers_equal_layers_one_by_one():
  apply, params = _network()
  inputs = _inputs()
  conditions = backbone.Conditions(
    **{
      key: value
      for key, value in inputs.items()
      if key not in ("latents", "timestep")
    }
  )

  @jax.jit
  def one_by_one(params):
    bound = backbone.WanDiT(CONFIG).bind(params)
    x, shared, head = bound.embed(
      inputs["latents"], inputs["timestep"], conditions
    )
    block = blocks.Block(CONFIG.layer, CONFIG.ffn_width)
    for i in range(CONFIG.num_layers):
      layer = jax.tree.map(lambda p, i=i: p[i], params["params"]["blocks"])
      x, _ = block.apply({"params": layer}, x, shared)
    return bound.finish(x, head)

  # Same operations; the compiler may fuse them differently.
  np.testing.assert_allclose(
    one_by_one(params), apply(params, **inputs), atol=1e-5
  )


@pytest.mark.slow
def test_remat_changes_nothing():
  _, params = _network()
  inputs = _inputs()
  plain, again = (
    jax.jit(
      jax.grad(
        lambda p, remat=remat: jnp.sum(
          backbone.WanDiT(dataclasses.replace(CONFIG, remat=remat)).apply(
            p, **inputs
          )
          ** 2
        )
      )
    )(params)
    for remat in ("none", "full")
  )
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again)):
    # Other fusions round sums over tokens differently.
    limit = 1e-3 * float(jnp.abs(a).max())
    np.testing.assert_allclose(a, b, rtol=0, atol=limit)


def test_padding_tokens_change_nothing():
  apply, params = _network()
  padded = apply(params, **_inputs(), sequence_length=23)
  np.testing.assert_allclose(padded, apply(params, **_inputs()), atol=1e-5)


def test_missing_text_rows_stand_for_zero_rows():
  apply, params = _network()
  inputs = _inputs()
  short = {**inputs, "text_context": inputs["text_context"][:, :4]}
  zeros = inputs["text_context"].at[:, 4:].set(0)
  whole = {**inputs, "text_context": zeros}
  np.testing.assert_allclose(
    apply(params, **short), apply(params, **whole), atol=1e-6
  )


def test_samples_of_a_batch_do_not_meet():
  apply, params = _network()
  inputs = _inputs()
  other = _inputs(seed=5)
  mixed = {key: value.at[1].set(other[key][1]) for key, value in inputs.items()}
  out, changed = apply(params, **inputs), apply(params, **mixed)
  np.testing.assert_allclose(out[0], changed[0], atol=1e-6)
  assert float(jnp.abs(out[1] - changed[1]).max()) > 1e-2


@pytest.mark.parametrize("name", list(_inputs()))
def test_every_input_matters(name):
  apply, params = _network()
  inputs = _inputs()
  changed = {**inputs, name: inputs[name][..., ::-1]}
  difference = apply(params, **inputs) - apply(params, **changed)
  assert float(jnp.abs(difference).max()) > 1e-4


def test_zero_image_features_stand_for_missing_ones():
  apply, params = _network()
  inputs = _inputs()
  zeros = {**inputs, "image_context": jnp.zeros((2, 3, 10))}
  none = {**inputs, "image_context": None}
  np.testing.assert_array_equal(apply(params, **zeros), apply(params, **none))


def test_a_new_network_predicts_zero_and_is_open_to_motion():
  apply, _ = _network()
  inputs = _inputs()
  init = jax.jit(backbone.WanDiT(CONFIG).init)
  params = partitioning.unbox(init(jax.random.key(0), **inputs))
  assert not np.any(apply(params, **inputs))
  layers = params["params"]["blocks"]
  for name in ("madanorm_attn", "madanorm_ffn"):
    assert not np.any(layers[name]["gate"])
    # Zero weights beside a zero gate would never receive a gradient.
    bound = np.sqrt(6 / (8 + 2 * CONFIG.width))
    kernel = layers[name]["proj"]["kernel"]
    assert 0.9 * bound < np.abs(kernel).max() <= bound


def test_wrong_channels_are_an_error():
  apply, params = _network()
  with pytest.raises(ValueError, match="expected 8 input channels"):
    apply(params, **{**_inputs(), "condition_latents": None})


@pytest.mark.parametrize(
  "mesh, context_attention, collective",
  [
    ((8, 1, 1, 1), "ring", None),
    ((1, 8, 1, 1), "ring", None),
    ((2, 2, 2, 1), "ulysses", "all_to_all"),
    ((1, 2, 2, 2), "ring", "ppermute"),
    ((1, 1, 4, 2), "ring", "ppermute"),  # 18 tokens, filled up to 20.
  ],
)
def test_sharded_forward_equals_one_device(
  mesh, context_attention, collective, capfd
):
  apply, params = _network()
  inputs = jax.tree.map(
    lambda x: jnp.tile(x, (4,) + (1,) * (x.ndim - 1)), _inputs()
  )
  expected = apply(params, **inputs)
  model = backbone.WanDiT(
    dataclasses.replace(CONFIG, context_attention=context_attention)
  )
  devices = partitioning.make_mesh(partitioning.MeshConfig(*mesh))
  boxed = jax.eval_shape(model.init, jax.random.key(0), **inputs)
  params = jax.device_put(params, partitioning.shardings(devices, boxed))
  inputs = jax.device_put(inputs, partitioning.batch_sharding(devices))
  if mesh[2] == 4:  # And a time for each of them, which is as good as one.
    times = jnp.repeat(inputs["timestep"][:, None], 18, axis=1)
    inputs["timestep"] = times
  with jax.set_mesh(devices):
    compiled = jax.jit(model.apply).lower(params, **inputs).compile()
  # Sums over devices are taken in another order.
  np.testing.assert_allclose(compiled(params, **inputs), expected, atol=2e-5)
  moves = re.findall(
    r"op_name=\"[^\"]*self_attn[^\"]*/(all_to_all|ppermute)", compiled.as_text()
  )
  assert set(moves) == ({collective} if collective else set())
  assert "Involuntary full rematerialization" not in capfd.readouterr().err


@pytest.mark.parametrize("form, kernels", [("ring", 4), ("ulysses", 3)])
def test_the_kernel_is_used_on_a_mesh(form, kernels, monkeypatch):
  """Once for text and image, and in a ring for the last part of the keys."""
  # The few tokens here would be left to plain attention.
  monkeypatch.setattr(dispatch, "FEW_KEYS", 0)
  config = dataclasses.replace(
    CONFIG, width=128, dtype="bfloat16", context_attention=form
  )
  model = backbone.WanDiT(config)
  inputs = jax.tree.map(
    lambda x: jnp.tile(x, (2,) + (1,) * (x.ndim - 1)), _inputs()
  )
  params = partitioning.unbox(
    jax.eval_shape(model.init, jax.random.key(0), **inputs)
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(2, 2, 2, 1))
  with jax.set_mesh(mesh):
    traced = jax.jit(model.apply).trace(params, **inputs)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
  assert text.count('kernel_name = "attention_forward"') == kernels


@pytest.mark.slow
def test_every_norm_and_rotation_gives_the_same_loss_and_gradient():
  _, params = _network()

  def loss(params, name):
    model = backbone.WanDiT(dataclasses.replace(CONFIG, norm_rotary=name))
    return jnp.mean(jnp.square(model.apply(params, **_inputs())))

  run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
  expected, wanted = run(params, "reference")
  for name in ("auto", "plain"):
    value, gradient = run(params, name)
    # Float32 rounding, and sums in another order.
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(wanted))
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted)):
      np.testing.assert_allclose(a, b, atol=1e-5 * largest)
  with pytest.raises(ValueError, match=r"set model\.norm_rotary to one"):
    loss(params, "mosaic_tpu_fast")


def test_half_precision_stays_close_to_float32():
  apply, params = _network()
  model = backbone.WanDiT(dataclasses.replace(CONFIG, dtype="bfloat16"))
  half = jax.jit(model.apply)(params, **_inputs())
  full = apply(params, **_inputs())
  assert half.dtype == jnp.float32
  # Eight bits of mantissa through two layers.
  assert float(jnp.std(half - full)) < 0.03 * float(jnp.std(full))
