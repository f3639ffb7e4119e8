import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.models import video_vae
from tests.models import random_params, vae_reference

_CONFIG = video_vae.VideoVAEConfig(width=4, encoder_blocks=1, decoder_blocks=1)


@functools.cache
def _params(config=_CONFIG):
  model = video_vae.VideoVAE(config)
  video = jnp.zeros((1, 5, 16, 16, 3))
  return jax.tree.map(jnp.asarray, random_params.draw(model, video)["params"])


def _video(frames, seed=0, batch=1):
  rng = np.random.default_rng(seed)
  return rng.uniform(-1, 1, (batch, frames, 16, 24, 3)).astype(np.float32)


@functools.cache
def _apply(config, method, **options):
  model = video_vae.VideoVAE(config)
  apply = functools.partial(model.apply, method=method, **options)
  return jax.jit(lambda params, x: apply({"params": params}, x))


@pytest.mark.parametrize("frames", [1, 9])
def test_encode_equals_chunks_in_numpy(frames):
  params = _params()
  video = _video(frames)
  moments = vae_reference.Reference(
    jax.tree.map(np.asarray, params), _CONFIG
  ).encode(video)
  mean, logvar = _apply(_CONFIG, "encode")(params, video)
  expected = np.split(moments, 2, axis=-1)
  scale = np.abs(moments).max()
  # Float32 through about twenty convolutions.
  np.testing.assert_allclose(mean, expected[0], atol=1e-5 * scale)
  np.testing.assert_allclose(logvar, expected[1], atol=1e-5 * scale)


@pytest.mark.parametrize("latent_frames", [1, 3])
def test_decode_equals_chunks_in_numpy(latent_frames):
  params = _params()
  rng = np.random.default_rng(1)
  latents = rng.normal(size=(1, latent_frames, 2, 3, 16)).astype(np.float32)
  expected = vae_reference.Reference(
    jax.tree.map(np.asarray, params), _CONFIG
  ).decode(latents)
  ours = _apply(_CONFIG, "decode", clamp=False)(params, latents)
  assert ours.shape == (1, 4 * latent_frames - 3, 16, 24, 3)
  tolerance = 1e-5 * np.abs(expected).max()
  np.testing.assert_allclose(ours, expected, atol=tolerance)


def test_decode_clamps():
  latents = 30.0 * np.random.default_rng(0).normal(size=(1, 1, 2, 2, 16))
  latents = latents.astype(np.float32)
  params = jax.tree.map(lambda a: 3.0 * a, _params())
  free = _apply(_CONFIG, "decode", clamp=False)(params, latents)
  cut = _apply(_CONFIG, "decode")(params, latents)
  assert np.abs(free).max() > 1.0
  np.testing.assert_allclose(cut, np.clip(free, -1, 1), atol=1e-6)


def test_left_over_frames_are_dropped():
  encode = _apply(_CONFIG, "encode")
  eight, five = (encode(_params(), _video(8)[:, :n]) for n in (8, 5))
  np.testing.assert_array_equal(eight[0], five[0])


def test_wrong_size_is_one_line():
  with pytest.raises(ValueError, match="multiples of 8"):
    _apply(_CONFIG, "encode")(_params(), np.zeros((1, 1, 20, 16, 3), "f4"))
  with pytest.raises(ValueError, match="temporal_downsample"):
    video_vae.VideoVAEConfig(multipliers=(1, 2))


def test_sizes_follow_the_config():
  config = video_vae.VideoVAEConfig(
    width=2,
    multipliers=(1, 2, 2),
    encoder_blocks=1,
    decoder_blocks=1,
    temporal_downsample=(True, False),
    latent_channels=3,
  )
  model = video_vae.VideoVAE(config)
  video = jax.ShapeDtypeStruct((1, 5, 8, 12, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), video)
  apply = functools.partial(model.apply, method="encode")
  mean, _ = jax.eval_shape(apply, params, video)
  assert mean.shape[1:] == config.latent_shape(5, 8, 12) == (3, 2, 3, 3)
  assert jax.eval_shape(model.apply, params, video).shape == video.shape


def test_published_size_has_all_tensors():
  config = video_vae.VideoVAEConfig()
  model = video_vae.VideoVAE(config)
  video = jnp.zeros((1, 1, 16, 16, 3))
  tree = jax.eval_shape(model.init, jax.random.key(0), video)
  leaves = jax.tree.leaves(partitioning.unbox(tree))
  assert len(leaves) == 194  # docs/method/weights.md#video-autoencoder.


@pytest.mark.slow
def test_remat_changes_no_gradient():
  video = jnp.asarray(_video(5))

  def loss(config):
    model = video_vae.VideoVAE(config)

    def value(params):
      return jnp.mean(
        jnp.square(model.apply({"params": params}, video) - video)
      )

    return jax.jit(jax.grad(value))(_params())

  plain = loss(_CONFIG)
  again = loss(dataclasses.replace(_CONFIG, remat="full"))
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again)):
    # The same sums, fused in another order.
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max() + 1e-9)


def test_bfloat16_stays_close_and_returns_float32():
  config = dataclasses.replace(_CONFIG, dtype="bfloat16")
  full, _ = _apply(_CONFIG, "encode")(_params(), _video(5))
  half, _ = _apply(config, "encode")(_params(), _video(5))
  assert half.dtype == jnp.float32
  # Eight bits of mantissa through about twenty layers.
  assert np.abs(full - half).max() < 0.05 * np.abs(full).max()


def test_posterior_against_closed_forms():
  rng = np.random.default_rng(0)
  shape = (2, 3, 4, 5, 6)
  mean = rng.normal(size=shape).astype(np.float32)
  logvar = rng.normal(size=shape).astype(np.float32)
  logvar[0, 0, 0, 0] = -50.0  # Clipped at -30.
  kl = video_vae.kl_divergence(jnp.asarray(mean), jnp.asarray(logvar))
  v = np.clip(logvar.astype(np.float64), -30, 20)
  terms = mean.astype(np.float64) ** 2 + np.exp(v) - 1 - v
  np.testing.assert_allclose(kl, terms.sum((1, 2, 3, 4)) / 2, rtol=1e-5)
  zeros = jnp.zeros(shape)
  assert np.all(video_vae.kl_divergence(zeros, zeros) == 0)
  wide = jnp.full((40, 10, 10, 10, 1), 2 * np.log(3.0))
  noise = jax.random.normal(jax.random.key(0), wide.shape)
  draws = video_vae.add_posterior_noise(wide, wide, noise)
  # 40,000 draws: the spread is known to about half a percent.
  np.testing.assert_allclose(draws.mean(), 2 * np.log(3.0), atol=0.06)
  np.testing.assert_allclose(draws.std(), 3.0, rtol=0.02)
