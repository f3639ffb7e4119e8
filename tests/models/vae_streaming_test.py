import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.models import vae_streaming, video_vae

_CONFIG = video_vae.VideoVAEConfig(width=4, encoder_blocks=1, decoder_blocks=1)
_MODEL = video_vae.VideoVAE(_CONFIG)


@functools.cache
def _params():
  video = jnp.zeros((1, 5, 16, 16, 3))
  params = jax.jit(_MODEL.init)(jax.random.key(0), video)["params"]
  return partitioning.unbox(params)


def _whole(method):
  apply = functools.partial(_MODEL.apply, method=method)
  return jax.jit(lambda params, x: apply({"params": params}, x))


def _chunked(function):
  return jax.jit(functools.partial(function, _MODEL))


@pytest.mark.parametrize("frames", [1, 13])
def test_encode_equals_the_whole_clip(frames):
  rng = np.random.default_rng(0)
  video = jnp.asarray(rng.uniform(-1, 1, (2, frames, 16, 16, 3)))
  whole = _whole("encode")(_params(), video)
  chunked = _chunked(vae_streaming.encode)(_params(), video)
  for ours, expected in zip(chunked, whole):
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 4])
def test_decode_equals_the_whole_clip(frames):
  rng = np.random.default_rng(0)
  latents = jnp.asarray(rng.normal(size=(2, frames, 2, 2, 16)))
  whole = _whole("decode")(_params(), latents)
  chunked = _chunked(vae_streaming.decode)(_params(), latents)
  np.testing.assert_allclose(chunked, whole, atol=1e-5)


def test_left_over_frames_are_an_error():
  with pytest.raises(ValueError, match="a multiple of 4"):
    vae_streaming.encode(_MODEL, {}, jnp.zeros((1, 4, 16, 16, 3)))


@pytest.mark.slow
def test_memory_does_not_grow_with_length():
  def temporary(frames):
    latents = jax.ShapeDtypeStruct((1, frames, 4, 4, 16), jnp.float32)
    params = jax.eval_shape(lambda: _params())
    compiled = _chunked(vae_streaming.decode).lower(params, latents).compile()
    output = 4 * 3 * (4 * frames - 3) * 32 * 32
    return compiled.memory_analysis().temp_size_in_bytes - 2 * output

  assert temporary(25) <= 1.05 * temporary(5)
