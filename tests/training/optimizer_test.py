"""Rates, clipping and AdamW against closed forms."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from more4d_jax.training import optimizer, paths


def _config(**changes):
  return optimizer.OptimizerConfig(**changes)


def test_warm_up_rises_to_the_peak_and_cosine_ends_at_its_fraction():
  config = _config(
    learning_rate=2.0, warmup_steps=4, schedule="cosine", final_fraction=0.1
  )
  rate = optimizer.learning_rate(config, 104)
  np.testing.assert_allclose([rate(i) for i in range(4)], [0.5, 1, 1.5, 2])
  half = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * 0.5))
  np.testing.assert_allclose(rate(4 + 50), 2.0 * half, rtol=1e-6)
  np.testing.assert_allclose(rate(104), 0.2, rtol=1e-6)


def test_constant_schedule_stays_and_unknown_one_is_refused():
  rate = optimizer.learning_rate(_config(learning_rate=3.0, warmup_steps=0), 9)
  assert rate(0) == rate(1000) == 3.0
  with pytest.raises(ValueError, match="schedule"):
    _config(schedule="steps")


def test_clip_ramp_falls_linearly():
  config = _config(clip=0.05, clip_ramp_factor=5.0, clip_ramp_steps=1000)
  values = [optimizer.clip_value(config, step) for step in (0, 500, 1000, 9999)]
  np.testing.assert_allclose(values, [0.25, 0.15, 0.05, 0.05], rtol=1e-6)


@pytest.mark.parametrize(
  ("norm", "step", "expected"),
  [  # Values of the original for clip 0.05, ramp 5 over 1000 steps.
    (80.0, 500, 0.15),
    (80.0, 1000, 0.05),
    (0.2, 4000, 0.05),
    (0.3, 1001, 0.05 / 6),
    (0.6, 1001, 0.005),
    (80.0, 4000, 0.005),
  ],
)
def test_outlying_gradients_are_cut_harder_after_the_ramp(norm, step, expected):
  config = _config(
    clip=0.05,
    clip_ramp_factor=5.0,
    clip_ramp_steps=1000,
    clip_outlier_ratio=5.0,
  )
  found = optimizer.clip_value(config, step, jnp.float32(norm))
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  tree = {"a": jnp.asarray([norm], jnp.float32)}
  clipped, _ = optimizer.clip_gradients(tree, config, step)
  np.testing.assert_allclose(clipped["a"], min(expected, norm), rtol=1e-6)


def test_warm_up_from_zero_starts_with_nothing():
  config = _config(learning_rate=2.0, warmup_steps=4, warmup_from_zero=True)
  rate = optimizer.learning_rate(config, 10)
  np.testing.assert_allclose(
    [rate(i) for i in range(6)], [0, 0.5, 1, 1.5, 2, 2]
  )


def test_clipping_scales_to_the_limit_and_keeps_small_gradients():
  tree = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
  clipped, norm = optimizer.clip_gradients(tree, _config(clip=1.0), 0)
  assert float(norm) == pytest.approx(5.0)
  np.testing.assert_allclose(clipped["a"], [0.6, 0.0], rtol=1e-6)
  kept, _ = optimizer.clip_gradients(tree, _config(clip=9.0), 0)
  np.testing.assert_array_equal(kept["b"], tree["b"])


def test_adamw_with_rates_by_path_against_numpy():
  config = _config(
    learning_rate=0.1,
    b1=0.8,
    b2=0.9,
    eps=1e-6,
    weight_decay=0.5,
    warmup_steps=0,
  )
  chain = optimizer.make_optimizer(config, 10, {"vae/decoder/.*": 0.1})
  start = np.array([1.0, -2.0], np.float32)
  params = {"vae": {"decoder": {"w": start}, "encoder": {"w": start}}}
  state, rng = chain.init(params), np.random.default_rng(0)
  expected = {"decoder": start.copy(), "encoder": start.copy()}
  first = second = np.zeros(2)
  for step in range(1, 5):
    gradient = rng.standard_normal(2).astype(np.float32)
    tree = {"vae": {name: {"w": gradient} for name in expected}}
    updates, state = chain.update(tree, state, params)
    params = optax.apply_updates(params, updates)
    first = 0.8 * first + 0.2 * gradient
    second = 0.9 * second + 0.1 * gradient**2
    adam = first / (1 - 0.8**step)
    adam /= np.sqrt(second / (1 - 0.9**step)) + 1e-6
    for name, rate in (("decoder", 0.01), ("encoder", 0.1)):
      expected[name] = expected[name] - rate * (adam + 0.5 * expected[name])
  for name, value in expected.items():
    np.testing.assert_allclose(params["vae"][name]["w"], value, rtol=1e-4)


def test_split_and_merge_are_inverse_and_empty_patterns_are_refused():
  tree = {"a": {"x": 1, "y": 2}, "b": {"z": 3}}
  chosen, rest = paths.split(tree, ["a/.*"])
  assert chosen == {"a": {"x": 1, "y": 2}}
  assert rest == {"b": {"z": 3}}
  assert paths.merge(chosen, rest) == tree
  with pytest.raises(ValueError, match="matches none"):
    paths.split(tree, ["c/.*"])
