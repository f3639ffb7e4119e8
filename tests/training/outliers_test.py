"""The rule against a plain loop over a list, and inside a train step."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.training import optimizer, outliers
from more4d_jax.training import state as states
from more4d_jax.training import step as steps


def _plain_loop(losses, window, deviations, after):
  """Which losses are skipped, and mean and deviation after each."""
  kept, count, rows = collections.deque(maxlen=window), 0, []
  for loss in losses.astype(np.float64):
    skip = not np.isfinite(loss)
    if not skip and count >= after:
      mean, deviation = np.mean(kept), np.std(kept)
      flat = deviation < 1e-6
      skip = loss > (10 * mean if flat else mean + deviations * deviation)
    if not skip:
      kept.append(loss)
      count += 1
    rows.append((skip, np.mean(kept or [0]), np.std(kept or [0])))
  return rows


def _ours(losses, window, deviations, after):
  def one(history, loss):
    skip = outliers.is_outlier(history, loss, deviations, after)
    history = outliers.record(history, loss, skip)
    return history, (skip, *outliers.moments(history))

  scan = jax.jit(lambda x: jax.lax.scan(one, outliers.empty(window), x)[1])
  return zip(*map(np.asarray, scan(jnp.asarray(losses))), strict=True)


@pytest.mark.parametrize(
  ("window", "deviations", "after"), [(8, 3.0, 6), (5, 2.5, 9), (50, 6.0, 1)]
)
def test_equals_a_plain_loop(window, deviations, after):
  rng = np.random.default_rng(window)
  losses = rng.uniform(1, 1.3, 60).astype(np.float32)
  losses[:4] = 1.0  # No spread at first.
  losses[[3, 9, 20, 41]] = [12.0, np.nan, 4.0, np.inf]
  losses[30:33] = [1.6, 1.45, 1.5]
  expected = _plain_loop(losses, window, deviations, after)
  found = list(_ours(losses, window, deviations, after))
  assert [bool(row[0]) for row in found] == [row[0] for row in expected]
  assert 2 <= sum(row[0] for row in expected) < 40
  # Float32 sums of a few values near 1.
  np.testing.assert_allclose(
    [row[1:] for row in found], [row[1:] for row in expected], atol=2e-6
  )


def _step(config):
  def loss(params, frozen, batch, keys):
    del frozen, keys
    return jnp.sum(params["w"] * batch["x"]), {}

  chain = optimizer.make_optimizer(config, 10, {})
  state = states.TrainState(
    step=jnp.int32(0),
    params={"w": jnp.ones(3)},
    ema={"w": jnp.ones(3)},
    optimizer=chain.init({"w": jnp.ones(3)}),
    skipped=jnp.int32(0),
    history=outliers.empty(config.window),
  )
  return jax.jit(steps.make_step(loss, chain, config, 0)), state


def test_a_skipped_step_changes_nothing_but_the_counts():
  config = optimizer.OptimizerConfig(
    learning_rate=1e-6,
    outlier_deviations=3.0,
    outlier_window=4,
    outlier_after=3,
  )
  step, state = _step(config)
  values = [1.0, 1.1, 0.9, 1.05, 50.0, np.nan, 1.0, 0.95]
  for value in values:
    before = state
    x = jnp.full(3, value / 3, jnp.float32)
    state, metrics = step(state, {}, {"x": x})
    skipped = not value < 10
    assert bool(metrics["skip"]) == skipped
    same = jax.tree.map(
      lambda a, b: bool((a == b).all()),
      (before.params, before.ema, before.optimizer, before.history),
      (state.params, state.ema, state.optimizer, state.history),
    )
    assert all(jax.tree.leaves(same)) == skipped
  assert int(state.step) == len(values)
  assert int(state.skipped) == float(metrics["skipped"]) == 2
  assert int(state.history.count) == len(values) - 2


def test_a_gradient_that_is_not_finite_is_skipped():
  config = optimizer.OptimizerConfig(outlier_deviations=3.0)
  _, state = _step(config)
  chain = optimizer.make_optimizer(config, 10, {})
  grads = {"w": jnp.asarray([1.0, np.inf, 0.0])}
  after, metrics = steps.update(state, grads, chain, config)
  np.testing.assert_array_equal(after.params["w"], state.params["w"])
  assert float(metrics["skip"]) == int(after.skipped) == 1
