"""Losses against closed forms, with networks that return what they are told."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import motion
from more4d_jax.models import flow_matching
from more4d_jax.training import step as steps
from more4d_jax.training.objectives import (
  base,
  depth,
  flow,
  motion_vae,
  strag,
  video_vae,
  vism,
)
from tests.training import nano_batches

KEYS = steps.Keys(3, 0)


class _Stub:
  """A network whose methods are plain functions."""

  def __init__(self, **methods):
    self._methods = methods

  def apply(self, variables, *args, method="__call__", **keywords):
    del variables, keywords
    return self._methods[method](*args)


def _device(batch):
  return {name: jnp.asarray(value) for name, value in batch.items()}


def _with(objective, **methods):
  """The same objective around a stub."""
  kind = type(objective)

  class Stubbed(kind):
    network = property(lambda self: _Stub(**methods))

  fields = {
    field.name: getattr(objective, field.name)
    for field in dataclasses.fields(objective)
  }
  return Stubbed(**fields)


def test_masked_mean_ignores_what_is_masked_even_if_not_finite():
  values = jnp.array([1.0, jnp.nan, 3.0])
  mask = jnp.array([True, False, True])
  assert float(base.masked_mean(values, mask)) == 2.0
  assert float(base.masked_mean(values, jnp.zeros(3, bool))) == 0.0
  slope = jax.grad(lambda v: base.masked_mean(v, mask))(values)
  np.testing.assert_array_equal(slope, [0.5, 0.0, 0.5])


def test_keep_mask_has_its_rate_and_select_keeps_samples():
  kept = base.keep_mask(steps.Keys(0, 0), "text", 0.3, 20_000)
  assert float(kept.mean()) == pytest.approx(0.7, abs=0.015)  # 4.6 sigma
  values = jnp.arange(6.0).reshape(3, 2)
  chosen = base.select(jnp.array([True, False, True]), values, 0)
  np.testing.assert_array_equal(chosen, [[0, 1], [0, 0], [4, 5]])


def test_depth_loss_is_the_log_ratio_and_unknown_pixels_do_not_count():
  true = np.full((2, 8, 8), 2.0, np.float32)
  true[0, 0, 0], true[0, 1, 1], true[1, 2, 2] = np.nan, np.inf, -1.0
  predicted = jnp.full((2, 8, 8), 3.0)
  loss, figures = depth.log_depth_loss(
    predicted, jnp.asarray(true), depth.DepthLoss(gradient=0.5, shape=0.0)
  )
  assert float(loss) == pytest.approx(np.log(1.5), rel=1e-5)
  assert float(figures["relative_error"]) == pytest.approx(0.5, rel=1e-5)


def test_depth_gradient_sees_edges_at_three_scales():
  true = jnp.ones((1, 8, 8))
  predicted = jnp.where(jnp.arange(8) < 4, 1.0, jnp.e) * true
  loss, figures = depth.log_depth_loss(
    predicted, true, depth.DepthLoss(gradient=1.0, shape=0.0)
  )
  edges = float(loss - figures["log_error"])
  # One step of 1 among 7, 3 and 1 neighbours of a row.
  assert edges == pytest.approx(1 / 7 + 1 / 3 + 1, rel=1e-5)


def test_depth_shape_is_the_error_without_the_mean_of_each_picture():
  rng = np.random.default_rng(0)
  true = rng.uniform(1, 4, (2, 6, 8)).astype(np.float32)
  predicted = (true * rng.uniform(0.5, 2, true.shape)).astype(np.float32)
  true[0, :2], true[1, 3, 3] = np.nan, np.inf
  weights = depth.DepthLoss(gradient=0.0, shape=1.0)
  loss, figures = depth.log_depth_loss(
    jnp.asarray(predicted), jnp.asarray(true), weights
  )
  found = []
  for one, other in zip(predicted, true, strict=True):
    known = np.isfinite(other)
    error = np.log(one[known]) - np.log(other[known])
    found.extend(np.abs(error - error.mean()))
  assert float(figures["shape_error"]) == pytest.approx(
    np.mean(found), rel=1e-5
  )
  assert float(loss - figures["log_error"]) == pytest.approx(
    np.mean(found), rel=1e-5
  )
  # Farther by one factor, another for each picture, changes nothing of it.
  scaled = jnp.asarray(predicted) * jnp.asarray([3.0, 0.2])[:, None, None]
  again = depth.log_depth_loss(scaled, jnp.asarray(true), weights)[1]
  assert float(again["shape_error"]) == pytest.approx(np.mean(found), rel=1e-4)


def test_depth_sky_is_asked_to_be_as_far_as_the_farthest_known():
  true = np.full((2, 2, 3), 4.0, np.float32)
  true[0, 0] = np.nan  # A sky of three pixels; the other picture has none.
  predicted = np.full_like(true, 4.0)
  predicted[0, 0] = [1.0, 4.0, 50.0]
  weights = depth.DepthLoss(gradient=0.0, shape=0.0, sky=1.0)

  def loss(values):
    return depth.log_depth_loss(values, jnp.asarray(true), weights)[0]

  found, slope = jax.value_and_grad(loss)(jnp.asarray(predicted))
  assert float(found) == pytest.approx(np.log(4.0) / 3, rel=1e-5)
  assert slope[0, 0, 0] < 0  # It is drawn away,
  assert slope[0, 0, 2] == 0  # and what is farther is left alone.
  unknown = jnp.full((1, 2, 3), jnp.nan)
  nothing = depth.log_depth_loss(jnp.ones((1, 2, 3)), unknown, weights)[0]
  assert float(nothing) == 0


def _motion(scale, moving, predicted=0.0):
  """Loss of a decoder that always answers the same value."""
  objective = _with(
    nano_batches.motion_objective(scale=scale, moving=moving, kl=0.25),
    encode=lambda m: (jnp.ones((1, 2, 2, 2, 4)), jnp.zeros((1, 2, 2, 2, 4))),
    decode=lambda z: jnp.full((1, *nano_batches.SIZE, 3), predicted),
  )
  batch = nano_batches.motion_batch(1)
  batch["tracks"] = batch["tracks"].copy()
  batch["tracks"][0, 3, 0, 0] = np.nan  # One invalid pixel, which is still.
  loss, figures = objective.loss({}, _device(batch), KEYS)
  return float(loss), {name: float(v) for name, v in figures.items()}


def test_motion_loss_is_a_mean_over_valid_pixels_and_scales_to_the_sum():
  frames, height, width = nano_batches.SIZE
  # dx / z of the square, alpha = 40 / 48: 0.15 t / 2 * 40 / 48.
  motion_x = 0.15 * np.arange(frames) / 2 * 40 / 48
  share = 12 * 16 / (height * width - 1)
  mean = motion_x.mean() / 3 * share
  kl = 0.5 * 2 * 2 * 2 * 4  # Mean 1 and variance 1: half a nat each.
  size = 3 * frames * height * width
  loss, figures = _motion("sum", 0.0)
  assert figures["error"] == pytest.approx(mean, rel=1e-5)
  assert figures["kl"] == pytest.approx(kl, rel=1e-6)
  assert loss == pytest.approx(size * mean + 0.25 * kl, rel=1e-5)
  assert figures["moving_error"] == pytest.approx(1.0, rel=1e-5)
  assert _motion("mean", 0.0)[0] == pytest.approx(loss / size, rel=1e-5)


def test_moving_pixels_count_by_themselves():
  alone = _motion("mean", 1.0)[1]["error"]
  motion_x = 0.15 * np.arange(nano_batches.SIZE[0]) / 2 * 40 / 48
  assert alone == pytest.approx(motion_x.mean() / 3, rel=1e-5)
  none = _motion("mean", 0.0)[1]["error"]
  half = _motion("mean", 0.5)[1]["error"]
  assert half == pytest.approx((alone + none) / 2, rel=1e-5)


def test_jerk_of_the_error_counts_third_differences():
  tracks = nano_batches.motion_batch(1)["tracks"]
  time = np.arange(nano_batches.SIZE[0], dtype=np.float32)
  trembling = jnp.asarray(0.01 * time**3)[None, :, None, None, None]

  def decoded(wave):
    """The motion of the batch plus a wave along time, in every channel."""
    shift = jnp.broadcast_to(wave, (1, *nano_batches.SIZE, 3))
    return lambda z: motion_x(tracks) + shift

  def motion_x(tracks):
    moved = (tracks[..., :1] - tracks[:, :1, ..., :1]) / tracks[:, :1, ..., 2:]
    across = moved * (40 / 48)
    return jnp.concatenate([across, 0 * across, 0 * across], axis=-1)

  def loss(wave, jerk):
    objective = _with(
      nano_batches.motion_objective(scale="mean", kl=0.0, jerk=jerk),
      encode=lambda m: (jnp.zeros((1, 2, 2, 2, 4)),) * 2,
      decode=decoded(wave),
    )
    batch = _device(nano_batches.motion_batch(1))
    return float(objective.loss({}, batch, KEYS)[0])

  # The third difference of 0.01 t^3 is 0.06; that of a parabola is nothing.
  added = loss(trembling, 1.0) - loss(trembling, 0.0)
  assert added == pytest.approx(0.06, rel=1e-3)
  parabola = jnp.asarray(0.01 * time**2)[None, :, None, None, None]
  assert loss(parabola, 1.0) == pytest.approx(loss(parabola, 0.0), abs=1e-5)


def test_motion_follows_the_normalisation():
  batch = _device(nano_batches.motion_batch(2))
  fixed = motion.MotionNormalisation("depth", (2.0, 1.0))
  own = motion.MotionNormalisation("depth")
  size = nano_batches.SIZE[1:]
  doubled, valid = motion_vae.normalised_motion(batch, fixed, size)
  plain, _ = motion_vae.normalised_motion(batch, own, size)
  np.testing.assert_allclose(
    doubled[..., 0] / 2.0, plain[..., 0] / (40 / 48), rtol=1e-5
  )
  assert bool(valid.all())
  moving = np.asarray(motion_vae.moving_mask(plain, valid))
  assert moving.sum() == 2 * 12 * 16
  assert moving[:, 8:20, 8:24].all()


def test_video_clips_have_their_shares_and_ranges():
  count = 400
  batch = nano_batches.video_batch(1)
  batch = {n: np.repeat(v, count, axis=0) for n, v in batch.items()}
  objective = nano_batches.video_objective(depth_share=0.25, motion_share=0.5)
  clips = np.asarray(
    jax.jit(lambda b: objective.clips(b, KEYS))(_device(batch))
  )
  assert np.abs(clips).max() <= 1.0
  still = np.abs(clips[:, 0]).max(axis=(1, 2, 3)) == 0  # Motion starts at 0.
  grey = np.ptp(clips, axis=-1).max(axis=(1, 2, 3)) == 0  # Depth has no hue.
  assert still.mean() == pytest.approx(0.5, abs=0.1)
  assert grey.mean() == pytest.approx(0.25, abs=0.1)
  shown = clips[~still & ~grey][0]
  np.testing.assert_allclose(shown, batch["video"][0] / 127.5 - 1, atol=1e-6)


def test_depth_clip_has_one_range_over_its_frames():
  depths = np.full((1, 5, 8, 8), 2.0, np.float32)
  depths[0, 3], depths[0, 4, 0, 0] = 4.0, np.nan
  clip = np.asarray(video_vae.depth_clip(jnp.asarray(depths)))
  np.testing.assert_allclose(clip[0, 0], -1, atol=1e-6)
  np.testing.assert_allclose(clip[0, 3], 1, atol=1e-6)
  assert np.isfinite(clip).all()


def test_video_loss_of_a_constant_error():
  objective = _with(
    nano_batches.video_objective(
      kl=0.5, l2=2.0, gradient=3.0, depth_share=0.0, motion_share=0.0
    ),
    encode=lambda v: (jnp.zeros((1, 2, 4, 6, 16)), jnp.zeros((1, 2, 4, 6, 16))),
    decode=lambda z: jnp.asarray(
      nano_batches.video_batch(1)["video"] / 127.5 - 1 + 0.1, jnp.float32
    ),
  )
  loss, figures = objective.loss({}, _device(nano_batches.video_batch(1)), KEYS)
  # Differences of a constant error vanish, and so does the divergence.
  assert float(loss) == pytest.approx(0.1 + 2 * 0.01, rel=1e-4)
  assert float(figures["psnr"]) == pytest.approx(
    10 * np.log10(4 / 0.01), rel=1e-4
  )


_STRAG = {
  "text_context": lambda tokens: tokens.astype(jnp.float32)[..., None],
  "image_context": lambda image: None,
  "motion_features": lambda image: image.mean(axis=(1, 2))[:, None],
}


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_strag_conditions_stay_or_go(rate):
  objective = nano_batches.strag_objective(strag.STraGDropout(*[rate] * 6))
  batch = nano_batches.strag_batch(4)
  found = _with(objective, **_STRAG).conditions({}, _device(batch), KEYS)
  empty = np.broadcast_to(objective.empty_text, batch["text"].shape)
  text = empty if rate else batch["text"]
  np.testing.assert_array_equal(found.text_context[..., 0], text)
  for name in ("control", "depth", "reference"):
    expected = batch[name] * (1 - rate)
    np.testing.assert_array_equal(getattr(found, name), expected)
  shown = batch["image"].astype(np.float32).mean(axis=(1, 2)) / 255
  np.testing.assert_allclose(
    found.motion_features[:, 0], shown * (1 - rate), rtol=1e-5
  )


def test_dropouts_are_independent_of_each_other():
  objective = nano_batches.strag_objective(strag.STraGDropout(*[0.5] * 6))
  batch = nano_batches.strag_batch(64)
  found = _with(objective, **_STRAG).conditions({}, _device(batch), KEYS)
  gone = [
    np.abs(np.asarray(value)).reshape(64, -1).max(axis=1) == 0
    for value in (found.control, found.depth, found.reference)
  ]
  assert all(0 < mask.sum() < 64 for mask in gone)
  assert (gone[0] != gone[1]).any()
  assert (gone[1] != gone[2]).any()


def test_flow_loss_vanishes_for_the_true_velocity_and_is_two_for_none():
  latents = jax.random.normal(jax.random.key(1), (64, 2, 4, 6, 16))
  config = flow_matching.FlowConfig()

  def true(noisy, timestep):
    sigma = (timestep / 1000.0).reshape(-1, 1, 1, 1, 1)
    return (noisy - latents) / sigma

  loss, _ = flow.flow_loss(true, latents, config, KEYS)
  assert float(loss) < 1e-6
  none, _ = flow.flow_loss(
    lambda noisy, timestep: jnp.zeros_like(noisy), latents, config, KEYS
  )
  # noise - latents has variance 2; 49152 values.
  assert float(none) == pytest.approx(2.0, rel=0.05)


def test_latents_are_standardised_with_the_statistics():
  stats = nano_batches.STATS
  mean = jnp.broadcast_to(stats.mean + 2 * stats.std, (1, 2, 4, 6, 16))
  found = flow.posterior_sample(mean, jnp.full(mean.shape, -30.0), stats, KEYS)
  np.testing.assert_allclose(found, 2.0, atol=1e-5)


def test_samples_without_rendering_lose_mask_and_latents():
  objective = nano_batches.vism_objective(
    vism.ViSMDropout(text=0.0, image=0.0, all_hole=1.0)
  )
  batch = nano_batches.vism_batch(3)
  batch["mask"][1] = 0.0
  stub = _with(
    objective,
    text_context=lambda t: t.astype(jnp.float32)[..., None],
    image_context=lambda image: None,
  )
  found = stub.conditions({}, _device(batch), KEYS)
  np.testing.assert_array_equal(found.masked[1], 0.0)
  for number in (0, 2):
    np.testing.assert_array_equal(found.masked[number], batch["masked"][number])
    np.testing.assert_array_equal(found.mask[number], batch["mask"][number])
