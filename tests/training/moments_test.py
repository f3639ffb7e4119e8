"""Rounding that is drawn, and moments in few bits, against exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from more4d_jax.training import moments

_DRAWS = 2_000


def test_stochastic_rounding_has_the_value_as_its_mean_and_keeps_the_rest():
  x = jnp.asarray([1.0, 1.001, -3.3e-5, 0.0, jnp.inf, jnp.nan], jnp.float32)
  keys = jax.random.split(jax.random.key(0), _DRAWS)
  drawn = jax.vmap(lambda key: moments.stochastic_round(x, key))(keys)
  assert drawn.dtype == jnp.bfloat16
  drawn = np.asarray(drawn, np.float64)
  assert len(np.unique(drawn[:, 1])) == 2  # The two neighbours, no other.
  mean, exact = drawn[:, :4].mean(0), np.asarray(x[:4], np.float64)
  # A step is 2^-7 of the value; 2,000 draws know the mean to 1 / 45 of half.
  np.testing.assert_allclose(mean, exact, rtol=5 * 2.0**-8 / 45)
  assert np.isposinf(drawn[:, 4]).all() and np.isnan(drawn[:, 5]).all()


@pytest.mark.parametrize("name", ["mu", "nu"])
def test_eight_bits_keep_the_mean_over_many_octaves(name):
  rng = np.random.default_rng(0)
  exact = 2.0 ** -rng.uniform(0, 20, (2, 64, 64))
  exact[0, 0, 0] = 0.0
  if name == "mu":
    exact *= rng.choice([-1.0, 1.0], exact.shape)
  x = jnp.asarray(exact, jnp.float32)

  @jax.jit
  def drawn(key):
    levels, scale = moments.encode(x, name, key)
    return levels, moments.decode(levels, scale, name)

  levels, _ = drawn(jax.random.key(0))
  assert levels.dtype == {"mu": jnp.int8, "nu": jnp.uint8}[name]
  sums = sum(
    np.asarray(drawn(jax.random.key(number))[1], np.float64)
    for number in range(100)
  )
  one = np.asarray(drawn(jax.random.key(0))[1])
  step = 2 ** ({"mu": 21 / 126, "nu": 48 / 254}[name]) - 1
  assert one[0, 0, 0] == 0
  kept = exact != 0
  assert np.abs(one[kept] / exact[kept] - 1).max() <= step * 1.001
  # Half a step at most for a draw, a tenth of it for the mean of a hundred.
  error = np.abs(sums[kept] / 100 / exact[kept] - 1)
  assert error.max() < 5 * step / 2 / 10


def test_second_moments_above_zero_stay_above():
  x = jnp.full((64, 64), 1e-30).at[0, 0].set(1.0)
  levels, scale = moments.encode(x, "nu", jax.random.key(0))
  assert int(levels.min()) >= 1
  assert float(moments.decode(levels, scale, "nu").min()) > 0


@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_adam_in_few_bits_follows_adam(kind):
  exact = optax.scale_by_adam()
  few = moments.in_few_bits(optax.scale_by_adam(), kind)
  params = {"w": jnp.zeros((64, 64)), "b": jnp.zeros(64)}
  states = exact.init(params), few.init(params)
  size = 2.0 ** -(np.arange(64) % 12)  # Gradients of very different sizes.
  rng = np.random.default_rng(0)

  @jax.jit
  def step(states, grads):
    one, first = exact.update(grads, states[0], params)
    other, second = few.update(grads, states[1], params)
    return one, other, (first, second)

  for _ in range(60):
    noise = 1 + rng.standard_normal((64, 64))
    rows = jnp.asarray(noise * size[:, None], jnp.float32)
    grads = {"w": rows, "b": rows[0]}
    one, other, states = step(states, grads)
  np.testing.assert_array_equal(one["b"], other["b"])  # Too few to round.
  off = np.asarray(other["w"] - one["w"])
  assert np.abs(off).max() > 0
  # Steps of Adam are about one; their noise is that of the rounding.
  assert np.sqrt(np.mean(off**2)) < {"bfloat16": 0.01, "8bit": 0.12}[kind]
  assert abs(off.mean()) < {"bfloat16": 1e-3, "8bit": 1e-2}[kind]
  held = states[1].nu
  leaf = held["w"] if kind == "bfloat16" else held.levels["w"]
  assert leaf.dtype == {"bfloat16": jnp.bfloat16, "8bit": jnp.uint8}[kind]
