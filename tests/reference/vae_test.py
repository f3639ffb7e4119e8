"""Our video autoencoder against that of diffusers."""

import functools

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: make reference")
diffusers = pytest.importorskip(
  "diffusers", reason="needs diffusers: make reference"
)

import torch

from more4d_jax.models import video_vae
from more4d_jax.name_maps import matching, vae
from tests.reference import agreement

pytestmark = pytest.mark.torch

# Base width, multipliers, blocks of an encoder level, halvings of time, latent
# channels, clip.
_SIZES = {
  "as published": (4, (1, 2, 4, 4), 2, (False, True, True), 16, (9, 16, 24)),
  "two halvings": (6, (1, 2, 2), 1, (True, False), 4, (5, 12, 8)),
  "one frame": (8, (1, 1, 2, 4), 1, (False, False, True), 8, (1, 24, 16)),
}


@functools.cache
def _pair(name):
  width, multipliers, blocks, temporal, channels, _ = _SIZES[name]
  theirs = agreement.redraw(
    diffusers.AutoencoderKLWan(
      base_dim=width,
      dim_mult=list(multipliers),
      num_res_blocks=blocks,
      temperal_downsample=list(temporal),
      z_dim=channels,
    )
  )
  weights = agreement.weights(theirs)
  shapes = matching.shapes_of(weights)
  config = video_vae.VideoVAEConfig(
    width=width,
    multipliers=multipliers,
    encoder_blocks=blocks,
    decoder_blocks=blocks + 1,
    temporal_downsample=temporal,
    latent_channels=channels,
  )
  found = matching.match(vae.diffusers_table(config), shapes)
  return theirs, video_vae.VideoVAE(config), matching.to_params(found, weights)


def _draw(shape):
  rng = np.random.default_rng(0)
  return rng.uniform(-1, 1, shape).astype(np.float32)


def _first(x):
  return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def _last(x):
  return np.moveaxis(x.numpy(), 1, -1)


@pytest.mark.parametrize("name", _SIZES)
def test_encode(name):
  theirs, model, params = _pair(name)
  video = _draw((2, *_SIZES[name][-1], 3))
  with torch.no_grad():
    expected = theirs.encode(_first(video)).latent_dist
  whole = jax.jit(functools.partial(model.apply, method="encode"))
  for output, moment in zip(
    whole({"params": params}, video), (expected.mean, expected.logvar)
  ):
    assert agreement.error(output, _last(moment)) < agreement.BOUND


@pytest.mark.parametrize("name", _SIZES)
def test_decode(name):
  theirs, model, params = _pair(name)
  latents = _draw((2, *model.config.latent_shape(*_SIZES[name][-1])))
  with torch.no_grad():
    expected = _last(theirs.decode(_first(latents)).sample)
  assert (np.abs(expected) < 1).mean() > 0.3  # Cut values prove little.
  whole = jax.jit(functools.partial(model.apply, method="decode"))
  output = whole({"params": params}, latents)
  assert agreement.error(output, expected) < agreement.BOUND
