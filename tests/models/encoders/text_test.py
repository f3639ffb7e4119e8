import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models.encoders import text, tokenizer
from tests.models import random_params

CONFIG = text.TextEncoderConfig(
  vocabulary=tokenizer.BYTE_VOCABULARY,
  length=12,
  width=16,
  attention_width=16,
  ffn_width=24,
  num_heads=2,
  num_layers=2,
)


def _bucket(r):
  first = 16 if r > 0 else 0
  # The published starts of buckets 8 to 15.
  starts = [8, 12, 16, 23, 32, 46, 64, 91]
  size = abs(r)
  if size < 8:
    return first + size
  return first + 7 + sum(size >= start for start in starts)


def test_buckets_equal_the_published_starts():
  distance = np.arange(-200, 201)
  expected = [_bucket(r) for r in distance]
  assert text.relative_buckets(distance).tolist() == expected


@pytest.fixture(scope="module")
def params():
  tokens = jnp.ones((1, CONFIG.length), jnp.int32)
  return random_params.draw(text.TextEncoder(CONFIG), tokens)


def test_padding_changes_no_feature_and_is_zero(params):
  model = text.TextEncoder(CONFIG)
  captions = ["a red ball", "ab"]
  short = tokenizer.ByteTokenizer(12)(captions)
  long = tokenizer.ByteTokenizer(20)(captions)
  apply = jax.jit(model.apply)
  out = apply(params, jnp.asarray(short))
  longer = apply(params, jnp.asarray(long))
  np.testing.assert_allclose(longer[:, :12], out, atol=1e-5)
  assert not np.any(longer[:, 12:])
  assert not np.any(out[1, 3:])
  assert np.all(np.abs(out[1, :3]).max(-1) > 1e-3)


def test_one_layer_equals_a_loop(params):
  block = jax.tree.map(
    lambda p: np.asarray(p[0], np.float64), params["params"]["blocks"]
  )
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 5, 16))
  mask = np.array([[True, True, True, True, False]])

  def rms(v, scale):
    return scale * v / np.sqrt(np.mean(v**2, -1, keepdims=True) + 1e-6)

  u = rms(x[0], block["norm1"]["scale"])
  q, k, v = (
    (u @ block[name]["kernel"]).reshape(5, 2, 8) for name in ("q", "k", "v")
  )
  attended = np.zeros((5, 2, 8))
  for n in range(5):
    for head in range(2):
      scores = np.array(
        [
          q[n, head] @ k[m, head] + block["position"][_bucket(m - n), head]
          for m in range(4)
        ]
      )
      weights = np.exp(scores) / np.exp(scores).sum()
      attended[n, head] = weights @ v[:4, head]
  expected = x[0] + attended.reshape(5, 16) @ block["o"]["kernel"]
  u = rms(expected, block["norm2"]["scale"])
  gate = u @ block["gate"]["kernel"]
  gate = (
    0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
  )
  inner = (u @ block["fc1"]["kernel"]) * gate
  expected = expected + inner @ block["fc2"]["kernel"]
  place = np.arange(5)
  buckets = text.relative_buckets(place[None] - place[:, None])
  out, _ = jax.jit(text.Block(CONFIG).apply)(
    {"params": jax.tree.map(np.float32, block)},
    jnp.asarray(x, jnp.float32),
    jnp.asarray(mask),
    jnp.asarray(buckets, jnp.int32),
  )
  np.testing.assert_allclose(out[0], expected, atol=1e-5)


def test_tokenizer_round_trip_and_cut():
  encode = tokenizer.ByteTokenizer(16)
  texts = ["", "a cat", "Größe", "x" * 40]
  tokens = encode(texts)
  assert tokens.dtype == np.int32
  assert encode.decode(tokens) == ["", "a cat", "Größe", "x" * 15]
  assert tokens[0].tolist() == [tokenizer.END] + [tokenizer.PAD] * 15
  assert tokens[3, -1] == tokenizer.END
  assert tokens.max() < tokenizer.BYTE_VOCABULARY
