"""Autoencoders on several devices: frames are divided, results are not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from more4d_jax import partitioning
from more4d_jax.models import abstract, motion_vae, variants, video_vae
from more4d_jax.sampling import networks

_CASES = (
  ("video_vae", (6, 16), {"context": 8}),
  ("motion_vae", (16, 6), {"fsdp": 2, "tensor": 4}),
)


def _bound(kind):
  variant = variants.get("nano")
  config = getattr(variant, kind)
  classes = {
    "video_vae": video_vae.VideoVAE,
    "motion_vae": motion_vae.MotionVAE,
  }
  module = classes[kind](config)
  shapes = partitioning.unbox(abstract.boxed_shapes(kind, module))
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), shapes
  )
  return networks.BoundModule(params, module)


@jax.jit
def _decoded(model, latents):
  return networks.decode(model, latents)


@jax.jit
def _encoded(model, video):
  return networks.posterior(model, video)[0]


def _compare(function, model, given, sizes):
  known = np.asarray(function(model, given))
  mesh = partitioning.make_mesh(partitioning.MeshConfig(**sizes))
  whole = partitioning.replicated(mesh)
  with jax.set_mesh(mesh):
    found = function(*jax.device_put((model, given), whole))
  # The same sums, in another order where a norm goes over a frame.
  scale = np.abs(known).max()
  np.testing.assert_allclose(found, known, rtol=0, atol=1e-5 * scale)
  return found


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "grid", "sizes"), _CASES)
def test_frames_are_divided_along_one_side(kind, grid, sizes, capfd):
  """At 21 frames, so that both go chunk by chunk."""
  model = _bound(kind)
  rng = np.random.default_rng(1)
  factor = variants.get("nano").video_vae.spatial_factor
  height, width = (factor * side for side in grid)
  latents = rng.normal(size=(1, 6, *grid, 16)).astype(np.float32)
  video = _compare(_decoded, model, latents, sizes)
  assert video.shape == (1, 21, height, width, 3)
  part = video.sharding.shard_shape(video.shape)
  longer = 2 if height > width else 3
  assert part[longer] == video.shape[longer] // 8
  assert np.prod(part) == video.size // 8
  clip = rng.uniform(-1, 1, (1, 21, height, width, 3)).astype(np.float32)
  _compare(_encoded, model, clip, sizes)
  assert "Involuntary full rematerialization" not in capfd.readouterr().err


@jax.jit
def _gradients(model, video):
  def loss(params):
    again = model.replace(params=params)(video)
    return jnp.mean(jnp.square(again - video))

  return jax.grad(loss)(model.params)


@pytest.mark.slow
def test_gradients_of_divided_frames_are_those_of_whole_ones(capfd):
  model = _bound("video_vae")
  rng = np.random.default_rng(2)
  video = rng.uniform(-1, 1, (1, 5, 64, 16, 3)).astype(np.float32)
  known = _gradients(model, video)
  mesh = partitioning.make_mesh(partitioning.MeshConfig(context=8))
  given = jax.device_put((model, video), partitioning.replicated(mesh))
  with jax.set_mesh(mesh):
    found = _gradients(*given)
  norm = float(optax.global_norm(known))
  for one, true in zip(jax.tree.leaves(found), jax.tree.leaves(known)):
    scale = max(np.abs(true).max(), 1e-6 * norm)  # Some are only rounding.
    np.testing.assert_allclose(one, true, rtol=0, atol=1e-5 * scale)
  assert "Involuntary full rematerialization" not in capfd.readouterr().err
