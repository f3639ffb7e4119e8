"""From pictures to trajectories with made-up networks."""

import dataclasses
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import cameras, motion
from more4d_jax.sampling import (
  networks,
  sample_strag,
  sample_vism,
  sampler_options,
  stages,
)
from tests.sampling import made_up


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


def _pictures(batch=2, frames=5):
  rng = np.random.default_rng(0)
  shape = (2, (frames + 3) // 4, 2, 4, 16)
  return sample_strag.Pictures(
    images=rng.integers(0, 256, (2, 16, 32, 3), np.uint8)[:batch],
    depths=rng.uniform(1, 4, (2, 16, 32)).astype(np.float32)[:batch],
    intrinsics=np.asarray([[40, 30, 16, 8]] * batch, np.float32),
    text_context=made_up.text(3, 5, batch),
    negative_context=made_up.text(1, 1, batch),
    noise=rng.standard_normal(shape).astype(np.float32)[:batch],
  )


def _nets(**changes):
  return made_up.Lender(
    video_vae=made_up.bound(made_up.VAE(), made_up.STATS),
    motion_vae=made_up.bound(made_up.VAE(), made_up.STATS),
    strag=changes.get("strag") or made_up.bound(_STraG()),
  )


def _conditions(pictures, choices=sample_strag.DEFAULT):
  run = stages.Stages(_nets())
  (found,) = sample_strag.encode_conditions(run, [pictures], choices)
  return found


def _settings(**settings):
  sampler = sampler_options.SamplerConfig(**settings)
  return sample_strag.Settings(motion.MotionNormalisation(), sampler)


def test_conditions_are_normalised_modes():
  pictures = _pictures()
  found = _conditions(pictures)
  pixel = np.float32(pictures.images[1, 4, 12] / 255) * 2 - 1
  expected = (pixel.mean() - made_up.STATS.mean) / made_up.STATS.std
  np.testing.assert_allclose(found.control[1, 1, 0, 1], expected, rtol=1e-5)
  np.testing.assert_array_equal(found.reference, found.control[:, 0])
  depth = pictures.depths[1]
  unit = 2 * (depth[4, 12] - depth.min()) / (depth.max() - depth.min()) - 1
  expected = (unit - made_up.STATS.mean) / made_up.STATS.std
  np.testing.assert_allclose(found.depth[1, 0, 0, 1], expected, atol=1e-5)


def test_picture_and_depth_are_encoded_in_one_batch():
  shapes = []

  class Recording(made_up.VAE):
    def encode(self, video):
      shapes.append(video.shape)
      return super().encode(video)

  image = jnp.ones((2, 16, 32, 3))
  sample_strag.encode_latents(
    made_up.bound(Recording(), made_up.STATS), image, image[..., 0], frames=5
  )
  assert shapes == [(4, 5, 16, 32, 3)]


def test_long_clips_pass_through_chunk_by_chunk(monkeypatch):
  calls = []

  def record(module, params, x):
    calls.append(x.shape[1])
    method = "encode" if x.shape[-1] == 3 else "decode"
    return module.apply({"params": params}, x, method=method)

  monkeypatch.setattr(networks.vae_streaming, "encode", record)
  monkeypatch.setattr(networks.vae_streaming, "decode", record)
  vae = made_up.bound(made_up.VAE(), made_up.STATS)
  for frames in (17, 21):
    video = jnp.zeros((1, frames, 8, 16, 3))
    mean, _ = networks.posterior(vae, video)
    np.testing.assert_allclose(networks.decode(vae, mean), video)
  assert calls == [21, 6]


def test_choices_of_released_weights():
  pictures = _pictures()
  found = _conditions(pictures, sample_strag.STraGChoices("grey", "zeros"))
  assert not found.reference.any()
  np.testing.assert_allclose(found.image_context, 127 / 255)
  picture = _conditions(pictures)
  np.testing.assert_allclose(
    picture.image_context[:, :, 0],
    pictures.images[:, 0, :3, 0] / 255,
    rtol=1e-6,
  )
  found = _conditions(pictures, sample_strag.STraGChoices("zeros"))
  assert found.image_context is None
  with pytest.raises(ValueError, match="expected reference to be one of"):
    sample_strag.STraGChoices(reference="mean")
  with pytest.raises(ValueError, match="'none'"):
    sample_vism.ViSMChoices(image_context="none")


def test_depth_that_is_not_known_is_shown_as_the_original_shows_it():
  """Where the choice acts, depth is 1 m for the network, and for it alone."""
  pictures = _pictures()
  known = np.ones(pictures.depths.shape, bool)
  known[:, 4:8, 8:16] = False
  holes = dataclasses.replace(pictures, known=known)
  ones = np.where(known, pictures.depths, np.float32(1))
  clip = sample_strag.STraGChoices(depth_cleaning="clip")
  expected = _conditions(dataclasses.replace(pictures, depths=ones)).depth
  np.testing.assert_allclose(_conditions(holes, clip).depth, expected)
  ours = _conditions(holes).depth
  np.testing.assert_array_equal(ours, _conditions(pictures).depth)
  assert np.abs(ours - expected).max() > 0.01


@pytest.mark.parametrize("halves", ["batch", "sequence"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_tracks_are_the_denormalised_guided_answer(scale, halves):
  pictures, lender = _pictures(), _nets()
  (found,) = sample_strag.sample_tracks(
    stages.Stages(lender, halves=halves),
    [pictures],
    _settings(num_steps=4, guidance_scale=scale),
  )
  assert found.computed.tolist() == [True] * 4
  assert found.tracks.shape == (2, 5, 16, 32, 3)
  first = np.asarray(
    cameras.unproject(
      jnp.asarray(pictures.depths), jnp.asarray(pictures.intrinsics)
    )
  )
  np.testing.assert_array_equal(found.tracks[:, 0], first)
  for number, token in enumerate((3.0, 5.0)):
    # Guidance is linear here: it leads to 1 + scale * (token - 1).
    latent = 1 + scale * (token - 1) if scale > 1 else token
    moved = latent * made_up.STATS.std[:3] + made_up.STATS.mean[:3]
    z = first[number, ..., 2:]
    alpha = np.array([40 / 32, 30 / 16, 1])
    expected = first[number] + z * moved / alpha
    np.testing.assert_allclose(
      found.tracks[number, 3], expected, rtol=2e-4, atol=2e-4
    )


def test_batches_go_through_a_stage_together():
  lender = _nets()
  run = stages.Stages(lender)
  batches = [_pictures(), _pictures(batch=1), _pictures()]
  settings = _settings(num_steps=2)
  found = list(sample_strag.sample_tracks(run, batches, settings))
  assert [len(one.tracks) for one in found] == [2, 1, 2]
  assert lender.borrowed == [
    ("strag", "image_encoder", "motion_encoder"),
    ("video_vae", "encoder"),
    ("strag", "transformer"),
    ("motion_vae", "decoder"),
  ]
  np.testing.assert_array_equal(found[0].tracks, found[2].tracks)
  # The picture alone gives what it gives in a batch, up to rounding.
  np.testing.assert_allclose(found[0].tracks[0], found[1].tracks[0], rtol=1e-4)


def test_each_step_is_reported_and_may_end_the_work():
  told = []

  def report(what, done, total):
    told.append((what, done, total))
    if (what, done) == ("trajectories", 3):
      raise KeyboardInterrupt

  run = stages.Stages(_nets(), report=report)
  batches = [_pictures(), _pictures()]
  with pytest.raises(KeyboardInterrupt):
    list(sample_strag.sample_tracks(run, batches, _settings(num_steps=2)))
  steps = [line for line in told if line[0] == "trajectories"]
  assert steps == [("trajectories", done, 4) for done in range(4)]
  assert [line[0] for line in told[:3]] == 3 * ["features of pictures"]


def test_other_numbers_compile_nothing():
  class Own(_STraG):
    """Not compiled by another test."""

  run, compiled = stages.Stages(_nets(strag=made_up.bound(Own()))), []

  def listen(event, duration, **_):
    if event.endswith("backend_compile_duration"):
      compiled.append(duration)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:

    def sample(**settings):
      before = len(compiled)
      (found,) = sample_strag.sample_tracks(
        run, [_pictures()], _settings(guidance_scale=2.0, **settings)
      )
      return found.tracks, len(compiled) - before

    first, count = sample(num_steps=3, smoothing=1.0)
    assert count  # The listener hears.
    for settings in (
      {"num_steps": 5, "smoothing": 1.0},
      {"num_steps": 3, "shift": 2.0, "smoothing": 2.5},
      {"sampler": "unipc", "schedule": "compat", "smoothing": 0.5},
      {"sampler": "dpm++", "cfg_skip": 0.0, "smoothing": 1e6},
    ):
      _, count = sample(**settings)
      assert not count, settings
    settings = _settings(num_steps=3, guidance_scale=7.5)
    before = len(compiled)
    (other,) = sample_strag.sample_tracks(run, [_pictures()], settings)
    assert len(compiled) == before
    assert np.abs(other.tracks - first).max() > 1
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
  ("scale", "halves", "batch"),
  [(1.0, "batch", 2), (3.0, "batch", 4), (3.0, "sequence", 2)],
)
def test_a_distilled_network_computes_no_unguided_half(scale, halves, batch):
  sizes = []

  class Counting(_STraG):
    def __call__(self, latents, timestep, conditions):
      jax.debug.callback(lambda x: sizes.append(len(x)), timestep)
      return super().__call__(latents, timestep, conditions)

  run = stages.Stages(_nets(strag=made_up.bound(Counting())), halves=halves)
  settings = _settings(num_steps=4, guidance_scale=scale)
  list(sample_strag.sample_tracks(run, [_pictures()], settings))
  jax.effects_barrier()
  assert sizes == [batch] * (8 if halves == "sequence" else 4)


def test_latent_shape():
  assert sample_strag.latent_shape(2, 9, 48, 64) == (2, 3, 6, 8, 16)
  with pytest.raises(ValueError, match="4 k"):
    sample_strag.latent_shape(1, 8, 48, 64)
