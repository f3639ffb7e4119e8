"""Tables of names: inverse of themselves, shaped like our modules, strict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import errors, partitioning
from more4d_jax.models import backbone, motion_vae, variants, video_vae
from more4d_jax.models.encoders import image as image_encoder
from more4d_jax.models.encoders import motion as motion_encoder
from more4d_jax.name_maps import (
  depth_anything,
  dit,
  image,
  matching,
  motion,
  table,
  text,
  trajectory,
  vae,
)
from tests.published import released

_VAE = video_vae.VideoVAEConfig(
  width=3,
  multipliers=(1, 2, 4),
  encoder_blocks=1,
  decoder_blocks=2,
  temporal_downsample=(True, False),
  latent_channels=4,
)
_HEAD_DIM = 16
_TABLES = {
  "dit": dit.DIT,
  "diffusers dit": dit.DIFFUSERS,
  "strag": dit.STRAG,
  "text": text.UMT5,
  "transformers text": text.TRANSFORMERS,
  "shared text": text.SHARED_POSITIONS,
  "clip": image.CLIP,
  "transformers clip": image.TRANSFORMERS,
  "omnimae": motion.OMNIMAE,
  "vae": vae.table_of(_VAE),
  "diffusers vae": vae.diffusers_table(_VAE),
  "depth anything": depth_anything.DEPTH_ANYTHING,
  "trajectory encoder": trajectory.table_of("encoder", 1),
  "trajectory decoder": trajectory.table_of("decoder", 2),
}


def make(names: table.Table, without=()) -> dict[str, np.ndarray]:
  """A published checkpoint of small sizes and three layers."""
  weights = released.make(names, layers=3, Z=4, U=3)
  return released.without(weights, names, *without)


def _match(names, weights):
  found = matching.match(names, matching.shapes_of(weights))
  return found.with_head_dim(_HEAD_DIM)


@pytest.mark.parametrize("name", _TABLES)
def test_there_and_back_is_the_same(name):
  weights = make(_TABLES[name])
  found = _match(_TABLES[name], weights)
  params = matching.to_params(found, weights)
  carried = {e.name: e.shape for e in found.carried}
  assert set(weights) == (
    {e.name for e in found.entries} | set(carried) | set(found.unused)
  )
  assert all(reason for reason in found.unused.values())
  # The way back knows our parameters only.
  ours = matching.shapes_of(matching.flatten(params))
  back = matching.match_params(_TABLES[name], ours, carried)
  back = back.with_head_dim(_HEAD_DIM)
  assert len(back.carried) == len(carried)
  given = matching.to_weights(back, params)
  assert set(given) == {e.name for e in found.entries}
  for key, value in given.items():
    np.testing.assert_array_equal(value, weights[key])


def _shapes(module, *arguments, **keywords):
  tree = jax.eval_shape(
    lambda key: module.init(key, *arguments, **keywords)["params"],
    jax.random.key(0),
  )
  flat = matching.flatten(partitioning.unbox(tree))
  return {path: tuple(leaf.shape) for path, leaf in flat.items()}


def _latents(config, batch=1):
  return jnp.zeros((batch, 2, 4, 4, config.in_channels))


def _dit_shapes(config):
  return _shapes(
    backbone.WanDiT(config),
    _latents(config),
    jnp.zeros((1,)),
    jnp.zeros((1, 4, config.text_width)),
    reference_latent=jnp.zeros((1, 4, 4, 16)) if config.reference else None,
    motion_features=jnp.zeros(
      (1, config.motion_grid[0] * config.motion_grid[1], config.motion_width)
    )
    if config.motion_width
    else None,
  )


@pytest.mark.parametrize(
  "without", [(), ("image",), ("reference", "motion"), ("motion",)]
)
def test_transformer_parameters_are_those_of_the_module(without):
  weights = make(dit.DIT, without=without)
  found = _match(dit.DIT, weights)
  config = dit.config(found, dit.Stated(num_heads=2, text_length=4), (2, 2))
  assert (config.num_layers, config.in_channels) == (3, 64)
  params = matching.to_params(found, weights)
  ours = matching.shapes_of(matching.flatten(params))
  assert ours == _dit_shapes(config)


def test_encoder_parameters_are_those_of_the_modules():
  picture = jnp.zeros((1, 8, 8, 3))
  cases = (
    (motion.OMNIMAE, motion, motion_encoder.MotionEncoder, picture),
    (
      image.CLIP,
      image,
      image_encoder.ImageEncoder,
      picture,
    ),
  )
  for names, module, network, value in cases:
    weights = make(names)
    found = _match(names, weights)
    config = module.config(found, num_heads=2)
    params = matching.to_params(found, weights)
    ours = matching.shapes_of(matching.flatten(params))
    assert ours == _shapes(network(config), value)


def test_umt5_parameters_are_those_of_the_module():
  weights = make(text.UMT5)
  found = _match(text.UMT5, weights)
  config = text.config(found, 7)
  assert (config.num_heads, config.length, config.num_buckets) == (3, 7, 32)
  from more4d_jax.models.encoders import text as text_encoder

  ours = matching.to_params(found, weights)
  expected = _shapes(
    text_encoder.TextEncoder(config), jnp.zeros((1, 7), jnp.int32)
  )
  assert matching.shapes_of(matching.flatten(ours)) == expected


@pytest.mark.parametrize("size", ["nano", "1p3b"])
def test_autoencoder_parameters_are_those_of_the_module(size):
  config = variants.get(size).motion_vae
  module = motion_vae.MotionVAE(config)
  ours = _shapes(module, jnp.zeros((1, 5, 16, 16, 3)))
  for part, names in (
    ("vae", vae.table_of(config.vae)),
    ("trajectory_encoder", trajectory.table_of("encoder", 1)),
    ("trajectory_decoder", trajectory.table_of("decoder", 2)),
  ):
    inner = {
      path.removeprefix(f"{part}/"): shape
      for path, shape in ours.items()
      if path.startswith(f"{part}/")
    }
    found = matching.match_params(names, inner)
    published = {e.name: e.shape for e in found.entries}
    assert len(matching.match(names, published).entries) == len(published)
    if part == "vae":
      read = vae.config_of({f"model.{k}": v for k, v in published.items()})
      assert read == config.vae


def test_the_configuration_of_an_autoencoder_is_read_from_its_tensors():
  shapes = matching.shapes_of(make(vae.table_of(_VAE)))
  assert vae.config_of(shapes) == _VAE
  with pytest.raises(errors.UserError, match="expected a video autoencoder"):
    vae.config_of({"encoder.conv1.weight": (3, 3, 3, 3, 3)})


def test_prefixes_are_taken_off_and_put_back():
  weights = {f"model.{k}": v for k, v in make(vae.table_of(_VAE)).items()}
  found = _match(vae.table_of(_VAE), weights)
  assert found.prefix == "model."
  params = matching.to_params(found, weights)
  assert set(matching.to_weights(found, params)) == set(weights)


def test_every_fault_is_listed():
  weights = make(dit.DIT)
  del weights["blocks.1.ffn.0.bias"]
  del weights["head.modulation"]
  weights["blocks.0.extra"] = np.zeros(1)
  weights["more"] = np.zeros(2)
  weights["text_embedding.2.weight"] = np.zeros((32, 15))
  # One tensor of a group makes the others of its group missing.
  for key in [k for k in weights if k.startswith("ref_conv.weight")]:
    del weights[key]
  with pytest.raises(errors.UserError) as caught:
    _match(dit.DIT, weights)
  line = str(caught.value)
  assert "\n" not in line
  for name in ("head.modulation", "blocks.1.ffn.0.bias", "ref_conv.weight"):
    assert name in line.partition("not expected")[0]
  strangers = line.partition("not expected ")[2].partition(";")[0]
  assert strangers == "blocks.0.extra, more"
  assert "text_embedding.2.weight (32, 15) instead of (32, 32)" in line
  assert line.count("instead of") == 1


def test_a_layer_that_is_missing_is_listed_in_full():
  weights = make(text.UMT5)
  gone = [key for key in weights if key.startswith("blocks.1.")]
  for key in gone:
    del weights[key]
  with pytest.raises(errors.UserError) as caught:
    _match(text.UMT5, weights)
  assert all(key in str(caught.value) for key in gone)
  huge = {**weights, "blocks.99999999999.norm1.weight": np.zeros(16)}
  with pytest.raises(errors.UserError, match=r"not expected blocks\.999"):
    _match(text.UMT5, huge)


def test_our_own_faults_are_listed_too():
  names = trajectory.table_of("encoder", 1)
  params = matching.to_params(_match(names, make(names)), make(names))
  shapes = matching.shapes_of(matching.flatten(params))
  del shapes["conv_in/bias"]
  shapes["norm_out/scale"] = (61,)
  shapes["gain"] = ()
  with pytest.raises(errors.UserError) as caught:
    matching.match_params(names, shapes)
  for text_part in ("conv_in/bias", "gain", "norm_out/scale (61,) instead of"):
    assert text_part in str(caught.value)


def test_heads_are_stated_or_those_of_the_published_width():
  found = _match(dit.DIT, released.make(dit.DIT, D=72))
  with pytest.raises(errors.UserError, match=r"config\.json"):
    dit.config(found, dit.Stated())
  published = variants.get("14b").strag.dit
  shapes = _dit_shapes(published)
  config = dit.config(matching.match_params(dit.DIT, shapes), dit.Stated())
  assert config.num_heads == published.num_heads
  assert config.num_layers == 40


def test_4d_strag_maps_the_transformer_and_its_motion_encoder():
  weights = make(dit.STRAG)
  found = _match(dit.STRAG, weights)
  params = matching.to_params(found, weights)
  assert set(params) == {"dit", "motion_encoder"}
  carried = {e.name for e in found.carried}
  assert "omnimae_extractor.trunk.pos_embed" in carried
  assert "omnimae_extractor.head.bias" in carried
  assert not found.unused
