import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.kernels.norm_rotary import reference
from more4d_jax.models import interpolation, layers


def _loop_rotary(x, grid, head_dim):
  """Rotates pair by pair with complex numbers in double precision."""
  side = head_dim // 6
  pairs = head_dim // 2
  counts = (pairs - 2 * side, side, side)
  out = np.zeros(x.shape)
  places = [
    (f, r, c)
    for f in range(grid[0])
    for r in range(grid[1])
    for c in range(grid[2])
  ]
  for n, place in enumerate(places):
    pair = 0
    for axis, count in enumerate(counts):
      for j in range(count):
        angle = place[axis] * 10000.0 ** (-j / count)
        value = x[:, n, :, pair] + 1j * x[:, n, :, pairs + pair]
        value = value * np.exp(1j * angle)
        out[:, n, :, pair] = value.real
        out[:, n, :, pairs + pair] = value.imag
        pair += 1
  return out


@pytest.mark.parametrize("head_dim", [16, 24, 48])
def test_rotary_equals_complex_loop(head_dim):
  grid = (3, 2, 4)
  x = np.random.default_rng(0).normal(size=(2, 24, 2, head_dim))
  angles = layers.rotary_angles(grid, head_dim)
  out = reference.rotate(jnp.asarray(x, jnp.float32), jnp.asarray(angles))
  # Angles are exact; what is left is float32 rounding of values near 1.
  np.testing.assert_allclose(out, _loop_rotary(x, grid, head_dim), atol=2e-6)


def test_rotary_scores_depend_on_distance_only():
  rng = np.random.default_rng(1)
  q, k = rng.normal(size=(2, 1, 1, 1, 24)).astype(np.float32)
  angles = jnp.asarray(layers.rotary_angles((1, 1, 9), 24))

  def score(a, b):
    rotated = [
      reference.rotate(jnp.asarray(x), angles[i : i + 1])
      for x, i in ((q, a), (k, b))
    ]
    return float(jnp.sum(rotated[0] * rotated[1]))

  assert score(1, 4) == pytest.approx(score(5, 8), abs=1e-5)
  assert abs(score(1, 4) - score(1, 5)) > 1e-3


def test_riflex_changes_one_frame_frequency():
  plain = layers.axis_frequencies(128)
  long = layers.axis_frequencies(128, (6, 13, 4.886))
  changed = np.flatnonzero(plain[0] != long[0])
  assert changed.tolist() == [5]
  assert long[0][5] == pytest.approx(0.9 * 2 * np.pi / 13 / 4.886)
  np.testing.assert_array_equal(plain[1], long[1])


def test_rms_norm_equals_loop_over_the_whole_width():
  x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
  scale = np.linspace(0.5, 1.5, 8, dtype=np.float32)
  out = layers.RMSNorm(1e-6).apply({"params": {"scale": scale}}, jnp.array(x))
  for b, n in np.ndindex(2, 3):
    row = x[b, n].astype(np.float64)
    expected = scale * row / np.sqrt(np.mean(row**2) + 1e-6)
    np.testing.assert_allclose(out[b, n], expected, rtol=2e-6)


def test_layer_norm_equals_its_definition():
  x = np.random.default_rng(0).normal(3.0, 2.0, size=(4, 6))
  out = layers.LayerNorm(1e-6, affine=False).apply({}, jnp.asarray(x))
  expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(
    x.var(-1, keepdims=True) + 1e-6
  )
  np.testing.assert_allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("width", [16, 256])
def test_timestep_embedding_equals_double_precision(width):
  timestep = np.array([0.0, 0.37, 4.98, 500.123, 995.87164, 1000.0], "f4")
  angle = timestep[:, None].astype(np.float64) * 10000.0 ** (
    -np.arange(width // 2) / (width // 2)
  )
  expected = np.concatenate([np.cos(angle), np.sin(angle)], axis=-1)
  out = jax.jit(lambda t: layers.timestep_embedding(t, width))(timestep)
  # A plain float32 product would be wrong by 3e-5.
  np.testing.assert_allclose(out, expected, atol=1e-6)


def test_patch_embedding_equals_loop_over_patches():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 2, 4, 6, 3)).astype(np.float32)
  kernel = rng.normal(size=(1, 2, 2, 3, 5)).astype(np.float32)
  bias = rng.normal(size=5).astype(np.float32)
  out = layers.PatchEmbed((1, 2, 2), 5).apply(
    {"params": {"kernel": kernel, "bias": bias}}, jnp.asarray(x)
  )
  for n, (f, i, j) in enumerate(np.ndindex(2, 2, 3)):
    patch = x[0, f : f + 1, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
    expected = np.einsum("fhwc,fhwcd->d", patch, kernel) + bias
    np.testing.assert_allclose(out[0, n], expected, atol=1e-5)


def test_unpatchify_puts_values_where_the_specification_says():
  tokens = np.random.default_rng(0).normal(size=(1, 2 * 2 * 3, 4 * 5))
  video = layers.unpatchify(jnp.asarray(tokens), (2, 2, 3), (1, 2, 2))
  grid = tokens.reshape(2, 2, 3, 20)
  for f, i, j, pr, pc, channel in np.ndindex(2, 2, 3, 2, 2, 5):
    expected = grid[f, i, j, (pr * 2 + pc) * 5 + channel]
    value = video[0, f, 2 * i + pr, 2 * j + pc, channel]
    assert value == np.float32(expected)


def test_linear_resizing_keeps_straight_lines_inside():
  line = jnp.arange(8.0)[None] * 2 + 1
  out = interpolation.resize_axes(line, (1,), (16,))[0]
  place = (np.arange(16) + 0.5) / 2 - 0.5
  np.testing.assert_allclose(out[1:-1], 2 * place[1:-1] + 1, atol=1e-5)
  assert out[0] == 1 and out[-1] == 15  # Edges are repeated.
