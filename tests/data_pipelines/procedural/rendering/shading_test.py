"""Renderings against closed forms and against the path without reuse."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.procedural import scenes
from data_pipelines.procedural.bodies import primitives, textures
from data_pipelines.procedural.rendering import cameras, ray_casting, shading

_WHITE = textures.Material(
  "plain", np.ones((2, 3)), np.zeros(3), np.zeros(3), 1.0
)
_SUN = ray_casting.Sun(np.array([0.6, -0.8, 0.0]))


class _Unsteady(cameras.Camera):
  """A still camera that does not say so."""

  is_static = False


def _still(shape, size, place, number=0):
  return primitives.Primitive(
    shape,
    np.array(size, np.float64),
    np.repeat(np.eye(3)[None], 2, axis=0),
    np.tile(np.array(place, np.float64), (2, 1)),
    (_WHITE, _WHITE),
    number,
  )


def _ball_world() -> shading.World:
  """A ball of radius 0.5 at depth 4; ground at y = 1, wall at z = 9."""
  room = _still("room", [6, 5, 6], [0, -4, 3])
  ball = _still("ellipsoid", [0.5, 0.5, 0.5], [0.3, 0.2, 4.0], 1)
  return shading.World((room, ball), _SUN)


def _camera(height=48, width=64) -> cameras.Camera:
  intrinsics = np.array([60.0, 62.0, width / 2, height / 2]) * height / 48
  intrinsics[2:] = width / 2, height / 2
  poses = np.repeat(np.eye(4)[None], 2, axis=0)
  return cameras.Camera(intrinsics, height, width, poses)


def _analytic_depth(camera):
  """Depth of the ball world, pixel by pixel, from the quadratic formula."""
  fx, fy, cx, cy = camera.intrinsics
  centre = np.array([0.3, 0.2, 4.0])
  depth = np.zeros((camera.height, camera.width))
  for row in range(camera.height):
    for col in range(camera.width):
      ray = np.array([(col + 0.5 - cx) / fx, (row + 0.5 - cy) / fy, 1.0])
      walls = [9.0]
      if ray[1] > 0:
        walls.append(1.0 / ray[1])
      if ray[0] != 0:
        walls.append(6.0 / abs(ray[0]))
      a, b = ray @ ray, ray @ centre
      root = b * b - a * (centre @ centre - 0.25)
      if root > 0:
        walls.append((b - np.sqrt(root)) / a)
      depth[row, col] = min(walls)
  return depth


def test_depth_of_a_ball_before_a_wall_is_analytic():
  camera = _camera()
  hits = shading.Renderer(_ball_world(), camera).hits(0)
  np.testing.assert_allclose(hits.depth, _analytic_depth(camera), rtol=1e-9)
  assert 0.02 < (hits.number == 1).mean() < 0.2


def test_shadow_of_a_ball_on_the_ground_is_where_the_sun_is_hidden():
  camera = _camera()
  world = _ball_world()
  renderer = shading.Renderer(world, camera)
  picture, hits = renderer.frame(0)
  points = camera.directions * hits.depth.ravel()
  offset = np.array([[0.3], [0.2], [4.0]]) - points
  along = world.sun.direction @ offset
  apart = (offset**2).sum(axis=0) - along**2
  gap = (np.sqrt(np.maximum(apart, 0)) - 0.5).reshape(hits.depth.shape)
  ground = (np.abs(points[1] - 1) < 1e-9).reshape(hits.depth.shape)
  clear = np.abs(gap) > 0.02
  dark = picture[..., 0].astype(int) < picture[47, 0, 0] - 40
  inner = ground & clear
  # Pixels beside the ball blend with it.
  ball = hits.number == 1
  near = ball.copy()
  near[1:] |= ball[:-1]
  near[:-1] |= ball[1:]
  near[:, 1:] |= ball[:, :-1]
  near[:, :-1] |= ball[:, 1:]
  inner &= ~near
  np.testing.assert_array_equal(dark[inner], (gap < 0)[inner])
  assert dark[inner].sum() > 20


@pytest.mark.parametrize("seed", [0, 3, 8, 10])
def test_reuse_of_what_stands_still_changes_no_byte(seed):
  options = scenes.SceneOptions(5, 48, 64, "motion")
  scene = scenes.make_scene(seed, options)
  unsteady = _Unsteady(
    **{
      f.name: getattr(scene.camera, f.name)
      for f in dataclasses.fields(scene.camera)
    }
  )
  first = shading.Renderer(scene.world, scene.camera).video()
  second = shading.Renderer(scene.world, unsteady).video()
  np.testing.assert_array_equal(first.number, second.number)
  np.testing.assert_array_equal(first.depth, second.depth)
  difference = np.abs(first.frames.astype(int) - second.frames)
  assert difference.max() <= 1  # Sums of float32 in another order.


def test_culling_leaves_no_primitive_out():
  options = scenes.SceneOptions(3, 24, 32, "all")
  for seed in range(8):
    scene = scenes.make_scene(seed, options)
    camera = scene.other_camera(0)
    renderer = shading.Renderer(scene.world, camera)
    everywhere = np.zeros((len(scene.world.items), 3, 4), np.int64)
    everywhere[..., 1], everywhere[..., 3] = 24, 32
    items = dict(enumerate(scene.world.items))
    slow = ray_casting.cast(camera, 2, items, everywhere)
    fast = renderer.hits(2)
    np.testing.assert_array_equal(slow.number, fast.number)
    np.testing.assert_allclose(slow.depth, fast.depth, rtol=1e-9)
    unbounded = np.full((len(items), 3, 4), np.inf)
    unbounded[..., ::2] = -np.inf
    depth, number = ray_casting.nearest(
      camera, 2, camera.directions, items, unbounded
    )
    np.testing.assert_array_equal(number, fast.number.ravel())
    np.testing.assert_allclose(depth, fast.depth.ravel(), rtol=1e-9)


def test_pictures_have_contrast_and_are_not_burnt_out():
  for seed in range(12):
    scene = scenes.make_scene(seed, scenes.SceneOptions(2, 48, 64))
    picture, _ = shading.Renderer(scene.world, scene.camera).frame(0)
    assert picture.std() > 15
    assert (picture == 255).all(axis=-1).mean() < 0.1
