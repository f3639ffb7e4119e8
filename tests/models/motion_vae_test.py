import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import partitioning
from more4d_jax.models import motion_vae, video_vae
from tests.models import random_params

_CONFIG = motion_vae.MotionVAEConfig(
  vae=video_vae.VideoVAEConfig(width=4, encoder_blocks=1, decoder_blocks=1),
  adapter=motion_vae.TrajectoryAdapterConfig(width=8, groups=4),
)


@functools.cache
def _params():
  """Random ones; those of the trajectory networks as training starts."""
  clip = jnp.zeros((1, 5, 16, 16, 3))
  params = random_params.draw(motion_vae.MotionVAE(_CONFIG), clip)["params"]
  for name, network in (
    ("trajectory_encoder", motion_vae.TrajectoryEncoder),
    ("trajectory_decoder", motion_vae.TrajectoryDecoder),
  ):
    init = jax.jit(network(_CONFIG.adapter).init)
    params[name] = partitioning.unbox(init(jax.random.key(0), clip))["params"]
  return params


def _motion(seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(scale * rng.normal(size=(1, 5, 16, 16, 3)))


def _group_norm(p, x, groups):
  """Every frame and group by itself, in loops."""
  x = x.copy()
  size = x.shape[-1] // groups
  for n in range(x.shape[0]):
    for g in range(groups):
      part = x[n, ..., g * size : (g + 1) * size]
      normal = (part - part.mean()) / np.sqrt(part.var() + 1e-6)
      x[n, ..., g * size : (g + 1) * size] = normal
  return x * p["scale"] + p["bias"]


def _conv(p, x):
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  height, width = x.shape[1:3]
  return p["bias"] + sum(
    padded[:, i : i + height, j : j + width] @ p["kernel"][i, j]
    for i in range(3)
    for j in range(3)
  )


def _reference(p, x, blocks, groups):
  def silu(h):
    return h / (1.0 + np.exp(-h))

  h = _conv(p["conv_in"], x)
  for i in range(blocks):
    b = p[f"block_{i}"]
    g = _conv(b["conv_1"], silu(_group_norm(b["norm_1"], h, groups)))
    h = h + _conv(b["conv_2"], silu(_group_norm(b["norm_2"], g, groups)))
  return _conv(p["conv_out"], silu(_group_norm(p["norm_out"], h, groups)))


@pytest.mark.parametrize(
  ("network", "blocks"),
  [
    (motion_vae.TrajectoryEncoder, 1),
    (motion_vae.TrajectoryDecoder, 2),
  ],
)
def test_networks_equal_numpy(network, blocks):
  model = network(_CONFIG.adapter)
  x = _motion()
  params = partitioning.unbox(model.init(jax.random.key(1), x))["params"]
  rng = np.random.default_rng(2)
  params = jax.tree.map(
    lambda a: a + 0.3 * rng.normal(size=a.shape).astype(np.float32), params
  )
  ours = jax.jit(model.apply)({"params": params}, x)
  double = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  expected = _reference(double, np.asarray(x[0], np.float64), blocks, 4)
  if network is motion_vae.TrajectoryEncoder:
    expected = 1.0 / (1.0 + np.exp(-(expected + x[0])))
  # Float32 sums through six convolutions.
  np.testing.assert_allclose(
    ours[0], expected, atol=1e-5 * np.abs(expected).max()
  )


def test_motion_video_starts_as_tanh():
  motion = _motion()
  video = motion_vae.MotionVAE(_CONFIG).apply(
    {"params": _params()}, motion, method="motion_video"
  )
  np.testing.assert_allclose(video, np.tanh(motion / 2), atol=1e-6)


def test_three_parts_under_their_names():
  assert set(_params()) == {"trajectory_encoder", "vae", "trajectory_decoder"}


@functools.cache
def _gradient():
  model = motion_vae.MotionVAE(_CONFIG)

  def loss(params, motion):
    decoded = model.apply({"params": params}, motion)
    return jnp.mean(jnp.square(decoded - _motion(seed=1)))

  return jax.jit(jax.grad(loss))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_gradients_reach_every_part(scale):
  """Also for a scene in which nothing moves, whose motion video is zero."""
  grads = _gradient()(_params(), _motion(scale=scale))
  for part in ("trajectory_encoder", "trajectory_decoder"):
    size = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads[part]))
    assert 0 < size < 1e4, part
  for side in ("encoder", "decoder"):
    leaves = jax.tree.leaves(grads["vae"][side])
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert max(float(jnp.abs(leaf).max()) for leaf in leaves) < 1e4


def test_groups_must_divide_the_width():
  with pytest.raises(ValueError, match="multiple of 32 groups"):
    motion_vae.TrajectoryAdapterConfig(width=40)


def test_gain_scales_motion_before_and_after():
  loud = motion_vae.MotionVAE(dataclasses.replace(_CONFIG, gain=4.0))
  plain, variables = motion_vae.MotionVAE(_CONFIG), {"params": _params()}
  motion = _motion(scale=0.3)

  def run(model, x, method):
    apply = functools.partial(model.apply, method=method)
    return jax.jit(apply)(variables, x)

  np.testing.assert_allclose(
    run(loud, motion, "motion_video"),
    run(plain, 4.0 * motion, "motion_video"),
    atol=1e-6,
  )
  latents = jnp.ones((1, 2, 2, 2, 16))
  np.testing.assert_allclose(
    4.0 * run(loud, latents, "decode"), run(plain, latents, "decode"), atol=1e-6
  )
