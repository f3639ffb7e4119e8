import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.models.encoders import convolutional_trunk, depth
from tests.models import random_params

_CONFIG = depth.DepthConfig(
  width=16,
  num_layers=4,
  num_heads=2,
  mlp_ratio=2,
  patch=4,
  position_grid=(3, 4),
  taps=(0, 1, 2, 3),
  reassemble=(4, 6, 8, 10),
  features=8,
  head_features=6,
)


@functools.cache
def _params(config=_CONFIG, height=12, width=16):
  network = depth.DepthNetwork(config)
  drawn = random_params.draw(network, jnp.zeros((1, height, width, 3)))
  drawn = drawn["params"]
  return jax.tree.map(jnp.asarray, drawn)


def _image(height=12, width=16, batch=1):
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.uniform(size=(batch, height, width, 3)))


@functools.cache
def _apply(config):
  return jax.jit(depth.DepthNetwork(config).apply)


def _run(image, **changes):
  config = dataclasses.replace(_CONFIG, **changes)
  return np.asarray(_apply(config)({"params": _params()}, image))


def _norm(p, x):
  centred = x - x.mean(-1, keepdims=True)
  normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
  return normal * p["scale"] + p["bias"]


def _dense(p, x):
  return x @ p["kernel"] + p["bias"]


def _gelu(x):
  return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _trunk(p, image):
  """One picture, patch by patch and head by head."""
  rows, columns = image.shape[0] // 4, image.shape[1] // 4
  tokens = [p["class_token"]]
  for i in range(rows):
    for j in range(columns):
      patch = image[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
      tokens.append(_dense(p["patch"], patch.reshape(-1)))
  x = np.stack(tokens) + p["position"]
  taps = []
  for layer in range(4):
    b = jax.tree.map(lambda a, i=layer: a[i], p["layers"])
    q, k, v = np.split(_dense(b["qkv"], _norm(b["norm_1"], x)), 3, axis=-1)
    heads = []
    for h in (slice(0, 8), slice(8, 16)):
      scores = np.exp(q[:, h] @ k[:, h].T / math.sqrt(8))
      heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, h])
    x = x + b["scale_1"] * _dense(b["out"], np.concatenate(heads, axis=-1))
    h = _gelu(_dense(b["mlp_in"], _norm(b["norm_2"], x)))
    x = x + b["scale_2"] * _dense(b["mlp_out"], h)
    taps.append(_norm(p["norm"], x)[1:].reshape(rows, columns, -1))
  return taps


def _conv(p, x, stride=1):
  if p["kernel"].shape[0] == 1:
    return _dense({"kernel": p["kernel"][0, 0], "bias": p["bias"]}, x)
  x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
  rows = range(0, x.shape[0] - 2, stride)
  columns = range(0, x.shape[1] - 2, stride)
  out = [
    [
      np.einsum("ijc,ijco->o", x[r : r + 3, c : c + 3], p["kernel"])
      for c in columns
    ]
    for r in rows
  ]
  return np.array(out) + p.get("bias", 0.0)


def _enlarge(p, x):
  factor = p["kernel"].shape[0]
  out = np.zeros((x.shape[0] * factor, x.shape[1] * factor, x.shape[2]))
  for u in range(factor):
    for v in range(factor):
      out[u::factor, v::factor] = x @ p["kernel"][u, v]
  return out + p["bias"]


def _resize(x, height, width):
  rows = np.linspace(0, x.shape[0] - 1, height)
  columns = np.linspace(0, x.shape[1] - 1, width)

  def along(values, axis, places):
    grid = np.arange(values.shape[axis])
    return np.apply_along_axis(
      lambda line: np.interp(places, grid, line), axis, values
    )

  return along(along(x, 0, rows), 1, columns)


def _head(p, taps, size):
  def residual(q, x):
    h = _conv(q["conv_1"], np.maximum(x, 0))
    return x + _conv(q["conv_2"], np.maximum(h, 0))

  maps = [_conv(p[f"project_{i}"], tap) for i, tap in enumerate(taps)]
  maps[0] = _enlarge(p["resize_0"], maps[0])
  maps[1] = _enlarge(p["resize_1"], maps[1])
  maps[3] = _conv(p["resize_3"], maps[3], stride=2)
  maps = [_conv(p[f"reduce_{i}"], x) for i, x in enumerate(maps)]
  path = None
  for i in (3, 2, 1, 0):
    q = p[f"fusion_{i}"]
    path = (
      maps[i] if path is None else path + residual(q["residual_1"], maps[i])
    )
    path = residual(q["residual_2"], path)
    target = maps[i - 1].shape if i else [2 * n for n in maps[0].shape]
    path = _conv(q["out"], _resize(path, *target[:2]))
  x = _resize(_conv(p["conv_1"], path), *size)
  return _conv(p["conv_3"], np.maximum(_conv(p["conv_2"], x), 0))[..., 0]


def test_network_equals_numpy():
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), _params())
  image = _image()
  normal = (np.asarray(image[0]) - [0.485, 0.456, 0.406]) / [
    0.229,
    0.224,
    0.225,
  ]
  expected = _head(params["head"], _trunk(params["trunk"], normal), (12, 16))
  # Float32 through four blocks and the head.
  np.testing.assert_allclose(
    np.log(_run(image)[0]), expected, atol=2e-5 * np.abs(expected).max()
  )


def test_outputs_are_of_one_raw_value():
  image = _image()
  raw = np.log(_run(image))
  np.testing.assert_allclose(
    _run(image, output="softplus"), np.log1p(np.exp(raw)), rtol=1e-3
  )
  np.testing.assert_allclose(
    _run(image, output="sigmoid", max_depth=80.0),
    80.0 / (1.0 + np.exp(-raw)),
    rtol=1e-3,
  )
  np.testing.assert_allclose(
    _run(image, output="relu"), np.maximum(raw, 0), atol=1e-5
  )


@pytest.mark.parametrize(("height", "width"), [(13, 17), (12, 24), (5, 3)])
def test_any_size_gives_positive_depth_of_that_size(height, width):
  found = _run(_image(height, width))
  assert found.shape == (1, height, width)
  assert np.isfinite(found).all()
  assert (found > 0).all()


def test_position_table_keeps_its_own_grid():
  table = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)), "f4")
  same = depth.position_table(table, (3, 4), (3, 4))
  np.testing.assert_array_equal(same, table)
  flat = depth.position_table(jnp.ones((12, 3)), (3, 4), (5, 9))
  assert flat.shape == (45, 3)
  np.testing.assert_allclose(flat, 1.0, atol=1e-6)


def test_published_pipeline_sizes():
  network = depth.DepthNetwork(depth.DepthConfig(input_size=518))
  # Shorter side 518, multiples of 14, as the original's resizing gives.
  assert network.config.working_size(480, 640) == (518, 686)
  assert network.config.working_size(1080, 1920) == (518, 924)


def test_gradients_reach_every_tensor_that_is_used():
  network = depth.DepthNetwork(_CONFIG)

  def loss(params):
    return jnp.mean(
      jnp.square(jnp.log(network.apply({"params": params}, _image())))
    )

  grads = jax.jit(jax.grad(loss))(_params())
  for path, grad in jax.tree.leaves_with_path(grads):
    assert np.abs(grad).max() > 0, jax.tree_util.keystr(path)


_CONVOLUTIONAL = depth.DepthConfig(
  trunk="convolutional",
  num_layers=1,
  patch=8,
  reassemble=(4, 6, 8, 10),
  features=8,
  head_features=6,
)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (30, 41), (5, 90)])
def test_convolutional_trunk_takes_any_size(height, width):
  params = {"params": _params(_CONVOLUTIONAL, 32, 48)}
  found = _apply(_CONVOLUTIONAL)(params, _image(height, width, batch=2))
  assert found.shape == (2, height, width)
  assert np.isfinite(found).all()
  assert (found > 0).all()


def test_convolutional_trunk_gives_four_sizes_and_knows_the_place():
  trunk = convolutional_trunk.ConvolutionalTrunk(
    (4, 6, 8, 10), 1, 8, jnp.dtype("float32")
  )
  grey = jnp.zeros((1, 32, 48, 3))
  params = {"params": _params(_CONVOLUTIONAL, 32, 48)["trunk"]}
  maps = trunk.apply(params, grey)
  assert [m.shape[1:] for m in maps] == [
    (16, 24, 4),
    (8, 12, 6),
    (4, 6, 8),
    (2, 3, 10),
  ]
  # A picture of one colour is not the same everywhere, far from its borders.
  assert np.ptp(maps[0][0, 6:10, 8:16], axis=(0, 1)).max() > 1e-3


def test_convolutional_trunk_sees_the_whole_picture():
  def far(corner):
    image = jnp.zeros((1, 32, 48, 3)).at[0, 0, 0].set(corner)
    params = {"params": _params(_CONVOLUTIONAL, 32, 48)}
    return depth.DepthNetwork(_CONVOLUTIONAL).apply(params, image)[0, -1, -1]

  assert abs(jax.grad(far)(0.5)) > 0


def test_gradients_reach_every_tensor_of_the_convolutional_trunk():
  def loss(params):
    found = depth.DepthNetwork(_CONVOLUTIONAL).apply(
      {"params": params}, _image(32, 48)
    )
    return jnp.mean(jnp.square(jnp.log(found)))

  grads = jax.jit(jax.grad(loss))(_params(_CONVOLUTIONAL, 32, 48))
  for path, grad in jax.tree.leaves_with_path(grads):
    assert np.abs(grad).max() > 0, jax.tree_util.keystr(path)


def test_impossible_configs():
  with pytest.raises(ValueError, match="depth trunk 'resnet'"):
    depth.DepthConfig(trunk="resnet")
  with pytest.raises(ValueError, match="multiple of 4"):
    depth.DepthConfig(trunk="convolutional", patch=14)
  with pytest.raises(ValueError, match="four blocks below"):
    depth.DepthConfig(num_layers=6)
  with pytest.raises(ValueError, match="depth output"):
    depth.DepthConfig(output="metres")
