import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.models import motion_perception

FRAMES, ROWS, WIDTH, FEATURES = 3, 4, 6, 5


def _params(rng):
  return {
    "gate": rng.normal(size=WIDTH),
    "proj": {
      "kernel": rng.normal(size=(FEATURES, 2 * WIDTH)),
      "bias": rng.normal(size=2 * WIDTH),
    },
  }


def _expected_feature(token, reference, alignment):
  """Which feature row a token gets, or None, written out token by token."""
  frame, place = divmod(token, ROWS)
  if frame >= FRAMES + reference:
    return None  # Padding.
  if not reference:
    return place
  if alignment == "aligned":
    return None if frame == 0 else place
  return None if frame == FRAMES else place


@pytest.mark.parametrize("alignment", motion_perception.ALIGNMENTS)
@pytest.mark.parametrize("reference", [False, True])
def test_madanorm_equals_a_loop_over_tokens(alignment, reference):
  rng = np.random.default_rng(0)
  length = (FRAMES + reference) * ROWS + 3
  tokens = rng.normal(size=(2, length, WIDTH))
  features = rng.normal(size=(2, ROWS, FEATURES))
  params = _params(rng)
  mask = motion_perception.token_mask(
    FRAMES, ROWS, reference=reference, alignment=alignment, length=length
  )
  out = motion_perception.MAdaNorm().apply(
    {"params": jax.tree.map(np.float32, params)},
    jnp.asarray(tokens, jnp.float32),
    jnp.asarray(features, jnp.float32),
    jnp.asarray(mask),
  )
  for b, n in np.ndindex(2, length):
    row = _expected_feature(n, reference, alignment)
    u = tokens[b, n]
    if row is not None:
      f = features[b, row]
      f = f / (1 + np.exp(-f))
      both = f @ params["proj"]["kernel"] + params["proj"]["bias"]
      scale, shift = both[:WIDTH], both[WIDTH:]
      u = u * (1 + scale * params["gate"]) + shift * params["gate"]
    np.testing.assert_allclose(out[b, n], u, atol=2e-5)


def test_madanorm_starts_as_the_identity_and_its_gate_has_a_gradient():
  rng = np.random.default_rng(0)
  tokens = jnp.asarray(rng.normal(size=(1, 8, WIDTH)), jnp.float32)
  features = jnp.asarray(rng.normal(size=(1, 4, FEATURES)), jnp.float32)
  module = motion_perception.MAdaNorm()
  arguments = (tokens, features, jnp.ones(8))
  params = partitioning.unbox(module.init(jax.random.key(0), *arguments))
  np.testing.assert_array_equal(module.apply(params, *arguments), tokens)
  grads = jax.grad(lambda p: jnp.sum(module.apply(p, *arguments) ** 3))(params)
  assert np.all(np.abs(grads["params"]["gate"]) > 1e-3)


def test_unknown_alignment_is_an_error():
  with pytest.raises(ValueError, match="must be aligned or compat"):
    motion_perception.token_mask(
      1, 1, reference=True, alignment="shifted", length=2
    )
