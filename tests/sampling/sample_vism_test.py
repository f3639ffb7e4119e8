"""From renderings to videos without holes with made-up networks."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from more4d_jax.sampling import sample_vism, sampler_options, stages
from tests.sampling import made_up


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
  films = sample_vism.Renderings(
    videos=rng.integers(0, 256, (2, 5, 16, 32, 3), np.uint8),
    coverage=coverage,
    images=np.zeros((2, 16, 32, 3), np.uint8),
    text_context=made_up.text(3, 5, 2),
    negative_context=made_up.text(1, 1, 2),
    noise=np.ones((2, 2, 2, 4, 16), np.float32),
  )
  lender = made_up.Lender(
    video_vae=made_up.bound(made_up.VAE(), made_up.STATS),
    vism=made_up.bound(_ViSM()),
  )
  return lender, films


def _encoded(choices=sample_vism.DEFAULT):
  lender, films = _films()
  (found,) = sample_vism.encode_conditions(
    stages.Stages(lender), [films], choices
  )
  return films, found


def test_holes_are_mid_grey_and_an_empty_rendering_is_no_condition():
  films, found = _encoded()
  rendering = jnp.asarray(films.videos, jnp.float32) / 255
  masked = sample_vism.shown_video(
    rendering, jnp.asarray(films.coverage), "grey"
  )
  assert (masked[0, :, :, 16:] == 0).all()
  np.testing.assert_allclose(
    masked[0, :, :, :16], rendering[0, :, :, :16] * 2 - 1
  )
  assert (found.mask[0, :, :, :2] == 1).all()
  assert (found.mask[0, :, :, 2:] == 0).all()
  expected = (0 - made_up.STATS.mean) / made_up.STATS.std
  np.testing.assert_allclose(found.masked[0, 1, 0, 3], expected, rtol=1e-5)
  assert (found.mask[1] == 0).all() and (found.masked[1] == 0).all()


def test_the_whole_rendering_may_be_the_condition():
  films, found = _encoded(sample_vism.ViSMChoices("zeros", "rendered"))
  assert found.image_context is None
  assert (found.mask[0, :, :, 2:] == 0).all() and not found.mask[1].any()
  pixel = films.videos[:, 4, 4, 28] / 255 * 2 - 1  # In a hole of both.
  expected = (
    pixel.mean(-1, keepdims=True) - made_up.STATS.mean
  ) / made_up.STATS.std
  np.testing.assert_allclose(found.masked[:, 1, 0, 3], expected, rtol=1e-4)


def test_a_filled_rendering_is_shown_as_it_is_unless_it_is_empty():
  films, found = _encoded(sample_vism.ViSMChoices(holes="filled"))
  _, whole = _encoded(sample_vism.ViSMChoices(holes="rendered"))
  np.testing.assert_allclose(found.masked[0], whole.masked[0], atol=1e-6)
  assert (found.mask[0, :, :, 2:] == 0).all()
  assert not films.coverage[1].any() and (found.masked[1] == 0).all()


def test_videos_and_what_they_borrow():
  lender, films = _films()
  config = sampler_options.SamplerConfig(num_steps=3, guidance_scale=2.0)
  run = stages.Stages(lender)
  (found,) = sample_vism.complete_videos(run, [films], config)
  video = found.videos
  assert found.finite.all()
  assert video.shape == (2, 5, 16, 32, 3) and video.dtype == np.uint8
  pixel = films.videos[0, 4, 4, 4].mean()
  np.testing.assert_allclose(video[0, 4, 0, 0], pixel, atol=0.51)
  assert lender.borrowed == [
    ("vism", "image_encoder"),
    ("video_vae", "encoder"),
    ("vism", "transformer"),
    ("video_vae", "decoder"),
  ]


def test_numbers_that_are_not_finite_are_told_of_their_film():
  lender, films = _films()
  films.noise[1, 0, 0, 0, 0] = np.nan
  config = sampler_options.SamplerConfig(num_steps=3, guidance_scale=1.0)
  (found,) = sample_vism.complete_videos(stages.Stages(lender), [films], config)
  assert found.finite.tolist() == [True, False]
