"""Shadows, occlusion and photography against rays and closed forms."""

import dataclasses

import numpy as np
import scipy.ndimage

from data_pipelines.procedural.bodies import expanses, primitives
from data_pipelines.procedural.rendering import (
  occlusion,
  photography,
  ray_casting,
  shadow_maps,
)

_SHARP = photography.Optics(
  exposure=0.18,
  tint=np.ones(3),
  focus=2.0,
  blur=0.0,
  shutter=0.5,
  softness=0.0,
  vignette=0.0,
  contrast=1.0,
  saturation=1.0,
  shot_noise=0.0,
  read_noise=0.0,
  quality=0,
)


def _still(kind, shape, size, place):
  return kind(
    shape,
    np.array(size, np.float64),
    np.eye(3)[None],
    np.array([place], np.float64),
    (None,),
  )


def test_shadow_maps_agree_with_rays_but_for_their_rims():
  sun = ray_casting.Sun(np.array([0.6, -0.8, 0.0]))
  items = (
    _still(expanses.Ground, "ground", [9, 0, 9], [0, 0, 0]),
    _still(primitives.Primitive, "ellipsoid", [0.5, 0.5, 0.5], [0, -0.8, 0]),
    _still(primitives.Primitive, "box", [0.2, 0.6, 0.3], [1.2, -0.6, 0.9]),
  )
  region = shadow_maps.Region(np.zeros(3), 2.5, 0.02)
  shadows = shadow_maps.ShadowMap(sun, region, items, 1)
  x, z = (v.ravel() for v in np.mgrid[-2:2:80j, -2:2:80j])
  points = np.stack([x, np.zeros_like(x), z])
  up = np.broadcast_to(np.float32([[0], [-1], [0]]), points.shape)
  lit = shadows.lit(0, points.astype(np.float32), up).reshape(80, 80)
  blocked = ray_casting.shadowed(
    sun,
    0,
    (points, np.zeros(points.shape[1], int)),
    dict(enumerate(items)),
    sun.extents(list(items), 1),
  ).reshape(80, 80)
  rim = scipy.ndimage.binary_dilation(
    blocked, iterations=2
  ) & ~scipy.ndimage.binary_erosion(blocked, iterations=2)
  # Rays that start inside the box, on the ground below it, do not enter it.
  below = (np.abs(x - 1.2) < 0.25) & (np.abs(z - 0.9) < 0.35)
  rim |= below.reshape(80, 80)
  assert (lit[~rim] == ~blocked[~rim]).mean() > 0.995
  assert 0.02 < blocked.mean() < 0.3
  assert ((lit > 0) & (lit < 1))[rim].any()


def test_a_plane_is_open_and_a_corner_is_dark():
  focal, size = 60.0, (48, 64)
  row, column = np.mgrid[:48, :64]
  down, right = (row - 23.5) / focal, (column - 31.5) / focal
  flat = np.stack([right * 3, down * 3, np.full(size, 3.0)]).astype(np.float32)
  facing = np.zeros((3, *size), np.float32)
  facing[2] = -1
  open_plane = occlusion.visible_sky(flat, facing, flat[2], focal)
  np.testing.assert_allclose(open_plane, 1.0)
  # A floor one metre below the eye meets a wall three metres ahead.
  depth = np.where(down > 1 / 3, 1 / np.maximum(down, 1e-3), 3.0)
  corner = np.stack([right * depth, down * depth, depth]).astype(np.float32)
  normals = np.where(down > 1 / 3, [[[0.0]], [[-1.0]], [[0.0]]], facing)
  seen = occlusion.visible_sky(corner, normals.astype(np.float32), depth, focal)
  edge = int(23.5 + focal / 3)
  assert seen[edge, 32] < 0.85
  assert seen[8, 32] > 0.95


def test_development_keeps_order_and_middle_grey():
  rng = np.random.default_rng(0)
  ramp = np.repeat(np.linspace(0, 4, 256)[None, :, None], 3, axis=2)
  picture = photography.develop(_SHARP, ramp.astype(np.float32), rng)
  assert (np.diff(picture[0, :, 0].astype(int)) >= 0).all()
  assert picture[0, 0, 0] == 0 and picture[0, -1, 0] > 235
  grey = np.full((4, 4, 3), 0.18, np.float32)
  level = photography.develop(_SHARP, grey, rng)[0, 0, 0]
  assert abs(int(level) - 118) <= 2  # sRGB of 18 %.


def test_noise_grows_with_light_and_follows_the_generator():
  noisy = dataclasses.replace(_SHARP, shot_noise=0.02, read_noise=0.002)
  grey = np.full((64, 64, 3), 0.18, np.float32)
  first = photography.develop(noisy, grey, np.random.default_rng(1))
  again = photography.develop(noisy, grey, np.random.default_rng(1))
  other = photography.develop(noisy, grey, np.random.default_rng(2))
  np.testing.assert_array_equal(first, again)
  assert (first != other).mean() > 0.5
  assert 1 < first.std() < 6


def test_motion_smears_along_itself_only():
  light = np.zeros((33, 33, 3), np.float32)
  light[16, 16] = 1.0
  still = np.zeros((2, 33, 33), np.float32)
  assert photography.smear(light, still) is light
  moving = still.copy()
  moving[0] = 8.0
  smeared = photography.smear(light, moving)[..., 0]
  assert not smeared[np.arange(33) != 16].any()
  np.testing.assert_allclose(smeared.sum(), 1.0, atol=1e-6)
  assert (smeared[16] > 0).sum() == 5


def test_what_is_in_focus_stays_sharp():
  optics = dataclasses.replace(_SHARP, blur=0.06)
  rng = np.random.default_rng(0)
  light = rng.random((64, 64, 3)).astype(np.float32)
  near = photography.defocus(optics, light, np.full((64, 64), 2.0))
  np.testing.assert_array_equal(near, light)
  far = photography.defocus(optics, light, np.full((64, 64), np.inf))
  assert far.std() < 0.35 * light.std()
