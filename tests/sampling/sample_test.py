"""Both sampling chains with made-up networks whose answers are known."""

import dataclasses
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import cameras, motion
from more4d_jax.models import latent_stats
from more4d_jax.sampling import (
  networks,
  sample_strag,
  sample_vism,
  sampler_options,
)

_STATS = latent_stats.LatentStats(
  mean=np.linspace(-1, 1, 16, dtype=np.float32),
  std=np.linspace(0.5, 2, 16, dtype=np.float32),
)


class _VAE(nn.Module):
  """Means of 8x8 pixels of every fourth frame; decodes by repetition."""

  def encode(self, video):
    small = video[:, ::4, 4::8, 4::8]
    mean = jnp.repeat(small.mean(-1, keepdims=True), 16, axis=-1)
    return mean, jnp.zeros_like(mean)

  def decode(self, latents):
    frames = jnp.repeat(latents[..., :3], 4, axis=1)[:, 3:]
    return jnp.repeat(jnp.repeat(frames, 8, axis=2), 8, axis=3)


class _STraG(nn.Module):
  """Leads every latent to the first token of its text."""

  config = types.SimpleNamespace(
    use_depth_latents=True, dit=types.SimpleNamespace(reference=True)
  )

  def text_context(self, tokens):
    return tokens[..., None].astype(jnp.float32)

  def image_context(self, image):
    return image[:, 0, :3, :1]

  def motion_features(self, image):
    return None

  def __call__(self, latents, timestep, conditions):
    sigma = (timestep / 1000)[:, None, None, None, None]
    target = conditions.text_context[:, 0, 0][:, None, None, None, None]
    return (latents - target) / sigma


def _bound(module, stats=None):
  return networks.BoundModule({}, module, stats)


def _inputs():
  rng = np.random.default_rng(0)
  return sample_strag.STraGInputs(
    image=jnp.asarray(rng.random((2, 16, 32, 3)), jnp.float32),
    depth=jnp.asarray(rng.uniform(1, 4, (2, 16, 32)), jnp.float32),
    intrinsics=jnp.asarray([[40.0, 30.0, 16.0, 8.0]] * 2),
    tokens=jnp.asarray([[3, 0], [5, 0]]),
    negative_tokens=jnp.asarray([[1, 0], [1, 0]]),
  )


def _nets():
  return sample_strag.STraGNetworks(
    video_vae=_bound(_VAE(), _STATS),
    motion_vae=_bound(_VAE(), _STATS),
    strag=_bound(_STraG()),
  )


def test_conditions_are_normalised_modes():
  inputs = _inputs()
  found = sample_strag.encode_conditions(_nets(), inputs, frames=5)
  pixel = inputs.image[1, 4, 12] * 2 - 1
  expected = (pixel.mean() - _STATS.mean) / _STATS.std
  np.testing.assert_allclose(found.control[1, 1, 0, 1], expected, rtol=1e-5)
  np.testing.assert_array_equal(found.reference, found.control[:, 0])
  depth = inputs.depth[1]
  unit = 2 * (depth[4, 12] - depth.min()) / (depth.max() - depth.min()) - 1
  expected = (unit - _STATS.mean) / _STATS.std
  np.testing.assert_allclose(found.depth[1, 0, 0, 1], expected, atol=1e-5)


def test_picture_and_depth_are_encoded_in_one_batch():
  shapes = []

  class Recording(_VAE):
    def encode(self, video):
      shapes.append(video.shape)
      return super().encode(video)

  nets = _nets().replace(video_vae=_bound(Recording(), _STATS))
  sample_strag.encode_conditions(nets, _inputs(), frames=5)
  assert shapes == [(4, 5, 16, 32, 3)]


def test_long_clips_pass_through_chunk_by_chunk(monkeypatch):
  calls = []

  def record(module, params, x):
    calls.append(x.shape[1])
    method = "encode" if x.shape[-1] == 3 else "decode"
    return module.apply({"params": params}, x, method=method)

  monkeypatch.setattr(networks.vae_streaming, "encode", record)
  monkeypatch.setattr(networks.vae_streaming, "decode", record)
  vae = _bound(_VAE(), _STATS)
  for frames in (17, 21):
    video = jnp.zeros((1, frames, 8, 16, 3))
    mean, _ = networks.posterior(vae, video)
    np.testing.assert_allclose(networks.decode(vae, mean), video)
  assert calls == [21, 6]


def test_choices_of_released_weights():
  nets, inputs = _nets(), _inputs()
  choices = sample_strag.STraGChoices("grey", "zeros")
  found = sample_strag.encode_conditions(nets, inputs, 5, choices)
  assert not found.reference.any()
  np.testing.assert_allclose(found.image_context, 127 / 255)
  picture = sample_strag.encode_conditions(nets, inputs, 5)
  np.testing.assert_array_equal(
    picture.image_context[:, :, 0], inputs.image[:, 0, :3, 0]
  )
  choices = sample_strag.STraGChoices("zeros")
  found = sample_strag.encode_conditions(nets, inputs, 5, choices)
  assert found.image_context is None
  with pytest.raises(ValueError, match="expected reference to be one of"):
    sample_strag.STraGChoices(reference="mean")
  with pytest.raises(ValueError, match="'none'"):
    sample_vism.ViSMChoices(image_context="none")


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_tracks_are_the_denormalised_guided_answer(scale):
  inputs = _inputs()
  noise = jnp.asarray(
    np.random.default_rng(1).standard_normal((2, 2, 2, 4, 16)), jnp.float32
  )
  found, computed = sample_strag.sample_tracks(
    _nets(),
    inputs,
    noise,
    motion.MotionNormalisation(),
    sampler_options.SamplerConfig(num_steps=4, guidance_scale=scale),
  )
  first = np.asarray(cameras.unproject(inputs.depth, inputs.intrinsics))
  assert computed.tolist() == [True] * 4
  assert found.shape == (2, 5, 16, 32, 3)
  np.testing.assert_array_equal(found[:, 0], first)
  for number, token in enumerate((3.0, 5.0)):
    # Guidance is linear here: it leads to 1 + scale * (token - 1).
    latent = 1 + scale * (token - 1) if scale > 1 else token
    moved = latent * _STATS.std[:3] + _STATS.mean[:3]
    z = first[number, ..., 2:]
    alpha = np.array([40 / 32, 30 / 16, 1])
    expected = first[number] + z * moved / alpha
    np.testing.assert_allclose(found[number, 3], expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("scale", "batch"), [(1.0, 2), (3.0, 4)])
def test_a_distilled_network_computes_no_unguided_half(scale, batch):
  texts, batches = [], []

  class Counting(_STraG):
    def text_context(self, tokens):
      texts.append(tokens[:, 0].tolist())
      return super().text_context(tokens)

    def __call__(self, latents, timestep, conditions):
      jax.debug.callback(lambda x: batches.append(len(x)), timestep)
      return super().__call__(latents, timestep, conditions)

  noise = jnp.zeros((2, 2, 2, 4, 16))
  sampler = sampler_options.SamplerConfig(num_steps=4, guidance_scale=scale)
  nets = _nets().replace(strag=_bound(Counting()))
  sample_strag.sample_tracks(
    nets, _inputs(), noise, motion.MotionNormalisation(), sampler
  )
  jax.effects_barrier()
  assert batches == [batch] * 4
  assert texts == ([[3, 5]] if batch == 2 else [[3, 5], [1, 1]])


def test_latent_shape():
  assert sample_strag.latent_shape(2, 9, 48, 64) == (2, 3, 6, 8, 16)
  with pytest.raises(ValueError, match="4 k"):
    sample_strag.latent_shape(1, 8, 48, 64)


class _ViSM(nn.Module):
  """Leads every latent to the condition it is given."""

  def text_context(self, tokens):
    return tokens[..., None].astype(jnp.float32)

  def image_context(self, image):
    return None

  def __call__(self, latents, timestep, conditions):
    sigma = (timestep / 1000)[:, None, None, None, None]
    return (latents - conditions.masked) / sigma


def _films():
  rng = np.random.default_rng(2)
  coverage = np.ones((2, 5, 16, 32), bool)
  coverage[0, :, :, 16:] = False
  coverage[1] = False
  inputs = sample_vism.ViSMInputs(
    rendering=jnp.asarray(rng.random((2, 5, 16, 32, 3)), jnp.float32),
    coverage=jnp.asarray(coverage),
    image=jnp.zeros((2, 16, 32, 3)),
    tokens=jnp.asarray([[3, 0], [5, 0]]),
    negative_tokens=jnp.asarray([[1, 0], [1, 0]]),
  )
  nets = sample_vism.ViSMNetworks(_bound(_VAE(), _STATS), _bound(_ViSM()))
  return nets, inputs


def test_holes_are_mid_grey_and_an_empty_rendering_is_no_condition():
  nets, inputs = _films()
  masked = sample_vism.masked_video(inputs.rendering, inputs.coverage)
  assert (masked[0, :, :, 16:] == 0).all()
  np.testing.assert_allclose(
    masked[0, :, :, :16], inputs.rendering[0, :, :, :16] * 2 - 1
  )
  found = sample_vism.encode_conditions(nets, inputs)
  assert (found.mask[0, :, :, :2] == 1).all()
  assert (found.mask[0, :, :, 2:] == 0).all()
  expected = (0 - _STATS.mean) / _STATS.std
  np.testing.assert_allclose(found.masked[0, 1, 0, 3], expected, rtol=1e-5)
  assert (found.mask[1] == 0).all() and (found.masked[1] == 0).all()


def test_the_whole_rendering_may_be_the_condition():
  nets, inputs = _films()
  choices = sample_vism.ViSMChoices("zeros", "whole")
  found = sample_vism.encode_conditions(nets, inputs, choices)
  assert found.image_context is None
  assert (found.mask[0, :, :, 2:] == 0).all() and not found.mask[1].any()
  pixel = inputs.rendering[:, 4, 4, 28] * 2 - 1  # In a hole of both.
  expected = (pixel.mean(-1, keepdims=True) - _STATS.mean) / _STATS.std
  np.testing.assert_allclose(found.masked[:, 1, 0, 3], expected, rtol=1e-4)


def test_a_video_in_the_unit_range():
  nets, inputs = _films()
  noise = jnp.ones((2, 2, 2, 4, 16))
  config = sampler_options.SamplerConfig(num_steps=3, guidance_scale=2.0)
  video, _ = sample_vism.complete_video(nets, inputs, noise, config)
  assert video.shape == (2, 5, 16, 32, 3)
  assert float(video.min()) >= 0 and float(video.max()) <= 1
  pixel = inputs.rendering[0, 4, 4, 4].mean()
  np.testing.assert_allclose(video[0, 4, 0, 0], pixel, atol=1e-5)


def test_rendered_pixels_may_be_kept():
  nets, inputs = _films()
  noise = jnp.ones((2, 2, 2, 4, 16))
  config = sampler_options.SamplerConfig(num_steps=3, guidance_scale=1.0)
  drawn, _ = sample_vism.complete_video(nets, inputs, noise, config)
  config = dataclasses.replace(config, keep_rendered=True)
  kept, _ = sample_vism.complete_video(nets, inputs, noise, config)
  shown = inputs.coverage
  assert (kept[shown] == inputs.rendering[shown]).all()
  assert (kept[~shown] == drawn[~shown]).all()
  assert (drawn[shown] != inputs.rendering[shown]).any()
