"""Upsampling against closed forms, and against ray-cast truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import upsampling as measurement
from more4d_jax.geometry import cameras, upsampling

_UPSAMPLE_DEPTH = jax.jit(upsampling.upsample_depth)
_TURN = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])


def _camera(size):
  height, width = size
  return np.array([width, width, width / 2, height / 2], np.float32)


def _rays(size):
  camera = jnp.asarray(_camera(size))
  return np.asarray(cameras.unproject(jnp.ones((1, *size)), camera[None])[0])


def _plane(size):
  """Depth of a slanted wall."""
  return 1 / (_rays(size) @ np.array([0.1, 0.2, 0.4], np.float32))


def _two_layers(size):
  """A disc one metre away in front of a wall four metres away."""
  y, x, _ = np.moveaxis(_rays(size)[..., [1, 0, 2]], -1, 0)
  inside = x**2 + y**2 < 0.2**2
  return np.where(inside, 1.0, 4.0).astype(np.float32), inside


def _moved(depth, rotation, shift):
  """Two frames: points before and after a rigid motion."""
  first = _rays(depth.shape) * depth[..., None]
  return np.stack([first, first @ rotation.T + shift]).astype(np.float32)


def _noise(size):
  return np.random.default_rng(0).random((*size, 3)).astype(np.float32)


def _upsampled(tracks, depth, colours):
  first = jnp.asarray(_rays(depth.shape) * depth[..., None])

  @jax.jit
  def run(tracks, depth, colours):
    stencil = upsampling.motion_stencil(tracks[0, ..., 2], depth, colours)
    return upsampling.upsample_tracks(tracks, first, stencil)

  return np.asarray(run(*map(jnp.asarray, (tracks, depth, colours))))


def test_a_turning_plane_is_met_whatever_its_texture():
  coarse, fine = (12, 16), (51, 70)
  shift = np.array([0.3, -0.1, 0.2])
  tracks = _moved(_plane(coarse), _TURN, shift)
  found = _upsampled(tracks, _plane(fine), _noise(fine))
  true = _moved(_plane(fine), _TURN, shift)
  inside = np.s_[:, 6:-6, 6:-6]  # One coarse pixel: no neighbours beyond.
  # The ridge: thousandths of a motion of up to 3 m.
  np.testing.assert_allclose(found[inside], true[inside], atol=6e-3)


def test_points_beside_an_edge_move_with_their_own_side():
  coarse, fine = (24, 32), (96, 128)
  _, inside = _two_layers(coarse)
  tracks = np.repeat(_moved(_two_layers(coarse)[0], np.eye(3), 0)[:1], 2, 0)
  tracks[1][inside] += np.array([0.3, 0.0, 0.1], np.float32)
  depth, inside = _two_layers(fine)
  colours = np.full((*fine, 3), 0.5, np.float32)  # No help from colour.
  displacement = np.diff(_upsampled(tracks, depth, colours), axis=0)[0]
  expected = inside[..., None] * np.array([0.3, 0.0, 0.1])
  np.testing.assert_allclose(displacement, expected, atol=1e-4)


def test_colour_decides_where_depth_is_the_same():
  coarse, fine = (12, 16), (48, 64)
  tracks = np.repeat(_moved(np.full(coarse, 2.0), np.eye(3), 0)[:1], 2, 0)
  tracks[1, :, 7:] += np.array([0.2, 0.0, 0.0], np.float32)
  colours = np.zeros((*fine, 3), np.float32)
  edge = 29  # Anywhere between the centres at columns 26 and 30.
  colours[:, edge:] = 1.0
  depth = np.full(fine, 2.0, np.float32)
  displacement = np.diff(_upsampled(tracks, depth, colours), axis=0)[0, ..., 0]
  # A pixel of the other colour weighs exp(-7.6) beside its own side's.
  np.testing.assert_allclose(displacement[:, :26], 0.0, atol=1e-3)
  np.testing.assert_allclose(displacement[:, 31:], 0.2, atol=1e-3)
  assert displacement[:, edge - 1].max() < 0.1 < displacement[:, edge].min()


def test_a_models_own_pixels_keep_their_motion():
  coarse, fine = (10, 12), (30, 36)
  rng = np.random.default_rng(1)
  depth = _plane(fine)
  tracks = _moved(depth[1::3, 1::3], np.eye(3), 0)
  tracks[1] += rng.standard_normal((*coarse, 3)).astype(np.float32)
  found = _upsampled(tracks, depth, _noise(fine))
  np.testing.assert_allclose(found[:, 1::3, 1::3], tracks, atol=1e-5)


def test_inside_a_surface_it_is_bilinear_interpolation():
  coarse, fine = (10, 12), (40, 48)
  rng = np.random.default_rng(2)
  motion = rng.standard_normal((1, *coarse, 3)).astype(np.float32)
  tracks = _moved(_plane(coarse), np.eye(3), 0)
  tracks[1] += motion[0] * tracks[0, ..., 2:]
  grey = np.full((*fine, 3), 0.5, np.float32)
  found = _upsampled(tracks, _plane(fine), grey)
  bilinear = jax.image.resize(motion, (1, *fine, 3), "linear", antialias=False)
  displacement = (found[1:] - found[:1]) / _plane(fine)[..., None]
  np.testing.assert_allclose(displacement, bilinear, atol=2e-4)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_depth_is_one_sides_at_an_edge(noise):
  coarse, fine = (24, 32), (96, 128)
  depth, inside = _two_layers(fine)
  colours = np.where(inside[..., None], [0.8, 0.3, 0.2], [0.3, 0.4, 0.5])
  colours = colours + noise * np.random.default_rng(3).standard_normal(
    (*fine, 3)
  )
  found = _UPSAMPLE_DEPTH(
    jnp.asarray(_two_layers(coarse)[0]), jnp.asarray(colours, jnp.float32)
  )
  between = (found > 1.1) & (found < 3.6)
  assert between.mean() < 1e-3
  wrong = np.abs(np.asarray(found) / depth - 1) > 0.1
  enlarged = np.kron(_two_layers(coarse)[0], np.ones((4, 4)))
  assert wrong.sum() < 0.2 * (enlarged != depth).sum()


def test_a_plane_stays_a_plane():
  found = _UPSAMPLE_DEPTH(
    jnp.asarray(_plane((12, 16))), jnp.asarray(_noise((48, 64)))
  )
  inner = np.s_[4:-4, 4:-4]
  np.testing.assert_allclose(found[inner], _plane((48, 64))[inner], rtol=2e-3)


def test_ray_cast_scenes():
  found = [
    measurement.measure(measurement.make_case(seed, (24, 32), 3, frames=4))
    for seed in (1, 2, 3)
  ]
  boundary = np.mean([f.boundary for f in found], axis=0)
  elsewhere = np.mean([f.elsewhere for f in found], axis=0)
  psnr = np.mean([f.psnr for f in found], axis=0)
  assert boundary[1] < 0.75 * boundary[0]
  assert elsewhere[1] < 1.02 * elsewhere[0] + 1e-6
  assert psnr[1] > psnr[0] + 2
