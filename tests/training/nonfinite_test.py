"""The first tensor that is not finite, also inside scans and layers."""

import jax
import jax.numpy as jnp
import pytest

from more4d_jax.training import nonfinite


def _network(weights, x):
  def layer(x, weight):
    with jax.named_scope("attention"):
      x = x @ weight
    with jax.named_scope("norm"):
      return jnp.log(x), None

  @jax.checkpoint
  def stack(x):
    return jax.lax.scan(layer, x, weights)[0]

  return jnp.sum(jax.jit(stack)(x))


_X = jnp.full((2, 3), 9.0)


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.value_and_grad])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_layer_and_the_operation_are_named(wrapped, bad):
  weights = jnp.stack([jnp.eye(3) * 9.0] * 3) + 1.0
  weights = weights.at[bad].multiply(-1.0)
  found = nonfinite.first(wrapped(_network), weights, _X)
  assert found.value == "nan"
  assert found.operation == "log float32[2,3]"
  assert f"[{bad}]" in found.name and found.name.endswith("norm")
  assert "nonfinite_test.py" in found.line


def test_what_comes_in_spoiled_is_found_where_it_is_first_mixed():
  weights = jnp.ones((2, 3, 3)).at[1, 0, 0].set(jnp.nan)
  found = nonfinite.first(_network, weights, _X)
  assert found is None or "[1]" in found.name


def test_infinite_masks_do_not_hide_what_is_not_a_number():
  def masked(x):
    logits = jnp.where(x > 1, x, -1.0 / jnp.zeros(()))
    weights = jax.nn.softmax(logits)
    return jnp.sum(jnp.sqrt(weights - 0.5))

  found = nonfinite.first(masked, jnp.asarray([0.0, 2.0, 3.0]))
  assert found.value == "nan" and found.operation.startswith("sqrt")


def test_an_infinity_alone_is_told_and_finite_programs_give_nothing():
  found = nonfinite.first(lambda x: jnp.exp(x).sum(), jnp.asarray([1.0, 99.0]))
  assert (found.value, found.operation) == ("inf", "exp float32[2]")
  assert nonfinite.first(_network, jnp.ones((2, 3, 3)), _X) is None
