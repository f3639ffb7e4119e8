import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models import causal_conv


def _slow(x, kernel):
  """Five loops in float64: zeros before the clip and around each frame."""
  kt, kh, kw = kernel.shape[:3]
  x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
  pads = ((0, 0), (kt - 1, 0), (kh // 2,) * 2, (kw // 2,) * 2, (0, 0))
  padded = np.pad(x, pads)
  out = np.zeros((*x.shape[:4], kernel.shape[-1]))
  _, frames, height, width, _ = x.shape
  for t in range(kt):
    for i in range(kh):
      for j in range(kw):
        window = padded[:, t : t + frames, i : i + height, j : j + width]
        out += window @ kernel[t, i, j]
  return out


def _arrays(kt=3, frames=4, height=6, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(2, frames, height, 5, 3)).astype(np.float32)
  kernel = rng.normal(size=(kt, 3, 3, 3, 4)).astype(np.float32)
  return jnp.asarray(x), jnp.asarray(kernel)


@pytest.mark.parametrize("form", ["frames", "volume"])
@pytest.mark.parametrize(("kt", "frames"), [(3, 4), (3, 1), (3, 2), (1, 3)])
def test_equals_loops(form, kt, frames):
  x, kernel = _arrays(kt, frames)
  ours = causal_conv.causal_conv(x, kernel, form)
  # Sums of 81 products of unit size in float32.
  np.testing.assert_allclose(ours, _slow(x, kernel), atol=2e-5)


@pytest.mark.parametrize("few", [0, 16384])
@pytest.mark.parametrize(("kt", "frames"), [(3, 4), (3, 1), (1, 2)])
def test_gradients_of_both_forms_agree(kt, frames, few, monkeypatch):
  # Small patches, so that several steps of rows are added up.
  monkeypatch.setattr(causal_conv, "_PATCH_BYTES", 8000)
  monkeypatch.setattr(causal_conv, "_FEW_POSITIONS", few)
  x, kernel = _arrays(kt, frames)
  weight = np.random.default_rng(1).normal(size=(*x.shape[:4], 4))

  def loss(x, kernel, form):
    return jnp.sum(jnp.sin(causal_conv.causal_conv(x, kernel, form)) * weight)

  both = [
    jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)(x, kernel, form)
    for form in ("frames", "volume")
  ]
  for ours, theirs in zip(*both):
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_never_sees_the_future():
  x, kernel = _arrays()
  changed = x.at[:, 2:].add(1.0)
  before, after = (
    causal_conv.causal_conv(a, kernel, "frames") for a in (x, changed)
  )
  np.testing.assert_array_equal(before[:, :2], after[:, :2])
  assert np.abs(before[:, 2:] - after[:, 2:]).min() > 0


def test_context_continues_a_clip():
  x, _ = _arrays()
  conv = causal_conv.CausalConv(4)
  params = conv.init(jax.random.key(0), x)
  whole = conv.apply(params, x)
  rest = conv.apply(params, x[:, 2:], x[:, :2])
  np.testing.assert_allclose(rest, whole[:, 2:], atol=1e-5)


def test_unknown_form():
  x, kernel = _arrays()
  with pytest.raises(ValueError, match="expected one of"):
    causal_conv.causal_conv(x, kernel, "depthwise")
