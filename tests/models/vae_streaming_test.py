import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models import motion_vae, vae_streaming, video_vae
from tests.models import random_params

_CONFIG = video_vae.VideoVAEConfig(width=4, encoder_blocks=1, decoder_blocks=1)
_ADAPTER = motion_vae.TrajectoryAdapterConfig(width=4, groups=2)
_MODELS = {
  "video": video_vae.VideoVAE(_CONFIG),
  "motion": motion_vae.MotionVAE(
    motion_vae.MotionVAEConfig(_CONFIG, _ADAPTER, gain=2.0)
  ),
}
# Temporaries that do not hold activations: indices, flags, alignment.
_SLACK = 1024


@functools.cache
def _params(kind):
  video = jnp.zeros((1, 5, 16, 16, 3))
  return random_params.draw(_MODELS[kind], video)["params"]


def _whole(kind, method):
  apply = functools.partial(_MODELS[kind].apply, method=method)
  return jax.jit(lambda params, x: apply({"params": params}, x))


def _chunked(kind, function):
  return jax.jit(functools.partial(function, _MODELS[kind]))


def _draw(shape):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32)


@pytest.mark.parametrize(
  ("kind", "frames"),
  [
    ("video", 1),
    ("video", 13),
    pytest.param("motion", 9, marks=pytest.mark.slow),
  ],
)
def test_encode_equals_the_whole_clip(kind, frames):
  video = _draw((2, frames, 16, 16, 3))
  whole = _whole(kind, "encode")(_params(kind), video)
  chunked = _chunked(kind, vae_streaming.encode)(_params(kind), video)
  for ours, expected in zip(chunked, whole):
    # Float32 sums over other shapes round differently.
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
  ("kind", "frames"),
  [
    ("video", 1),
    ("video", 4),
    pytest.param("motion", 3, marks=pytest.mark.slow),
  ],
)
def test_decode_equals_the_whole_clip(kind, frames):
  latents = _draw((2, frames, 2, 2, 16))
  whole = _whole(kind, "decode")(_params(kind), latents)
  chunked = _chunked(kind, vae_streaming.decode)(_params(kind), latents)
  np.testing.assert_allclose(chunked, whole, atol=1e-5)


@pytest.mark.slow
def test_gradients_pass_from_chunk_to_chunk():
  latents, weight = _draw((1, 3, 2, 2, 16)), _draw((1, 9, 16, 16, 3))
  model, params = _MODELS["video"], jax.tree.map(jnp.asarray, _params("video"))

  def whole(latents):
    video = model.apply({"params": params}, latents, method="decode")
    return jnp.sum(video * weight)

  def chunked(latents):
    return jnp.sum(vae_streaming.decode(model, params, latents) * weight)

  ours, expected = (
    np.asarray(jax.jit(jax.grad(f))(latents)) for f in (chunked, whole)
  )
  assert np.abs(expected[:, 0]).max() > 0
  np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


def test_left_over_frames_are_an_error():
  with pytest.raises(ValueError, match="a multiple of 4"):
    vae_streaming.encode(_MODELS["video"], {}, jnp.zeros((1, 4, 16, 16, 3)))


@pytest.mark.parametrize(
  "method", ["decode", pytest.param("encode", marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_length(method):
  def temporary(frames):
    shape = (1, frames, 32, 32, 3)
    if method == "decode":
      shape = (1, (frames - 1) // 4 + 1, 4, 4, 16)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = jax.eval_shape(lambda: _params("video"))
    function = getattr(vae_streaming, method)
    compiled = _chunked("video", function).lower(params, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  short, middle, long = map(temporary, (17, 49, 97))
  assert short > 100 * _SLACK
  assert long <= middle + _SLACK <= short + 2 * _SLACK
