"""Simulated bodies against free fall, momentum and the ground."""

import sys

import numpy as np
import pytest

from data_pipelines.procedural import scenes
from data_pipelines.procedural.bodies import rotations
from data_pipelines.procedural.subjects import physics
from more4d_jax import errors


def _needs_mujoco():
  pytest.importorskip("mujoco", reason="MuJoCo is the extra [sim]")


def _body(shape="box", place=(0.0, -3.0, 4.0), velocity=(0.0, 0.0, 0.0)):
  return physics.Body(
    shape,
    np.array([0.3, 0.2, 0.25]),
    np.array(place),
    rotations.about_y(np.array(0.4)) @ rotations.about_x(np.array(0.3)),
    np.array(velocity),
  )


def test_a_body_in_the_air_falls_freely_in_the_stages_axes():
  _needs_mujoco()
  start = _body(place=(1.0, -9.0, 4.0), velocity=(0.5, -1.0, 0.25))
  ((rotation, place),) = physics.simulate([start], 6)
  time = np.linspace(0, 1, 6)[:, None]
  expected = start.place + time * start.velocity
  expected[:, 1] += 0.5 * 9.81 * time[:, 0] ** 2
  # Steps of 1 ms that take the new velocity lag half a step behind.
  np.testing.assert_allclose(place, expected, atol=0.5 * 9.81 * 0.001 + 1e-6)
  np.testing.assert_allclose(
    rotation, np.repeat(start.rotation[None], 6, axis=0), atol=1e-9
  )


@pytest.mark.parametrize("shape", ["ellipsoid", "box", "capsule", "cylinder"])
def test_bodies_come_to_rest_on_the_ground_and_not_in_it(shape):
  _needs_mujoco()
  start = _body(shape, place=(0.0, -0.7, 4.0))
  ((rotation, place),) = physics.simulate([start], 21)
  ball = np.random.default_rng(0).normal(size=(3, 4000))
  ball /= np.linalg.norm(ball, axis=0)
  radius, half = start.size[0], start.size[1]
  if shape == "box":
    surface = start.size[:, None] * ball / np.abs(ball).max(axis=0)
  elif shape == "ellipsoid":
    surface = radius * ball
  elif shape == "capsule":
    surface = radius * ball + half * np.sign(ball[1]) * np.eye(3)[1][:, None]
  else:
    around = ball[[0, 2]] / np.linalg.norm(ball[[0, 2]], axis=0)
    surface = np.stack(
      [radius * around[0], half * np.sign(ball[1]), radius * around[1]]
    )
  lowest = [
    (turn @ surface + at[:, None])[1].max() for turn, at in zip(rotation, place)
  ]
  # Contacts of MuJoCo are soft: a body may sink by some millimetres.
  assert max(lowest) < 0.01
  assert abs(lowest[-1]) < 0.03


def test_a_push_is_passed_on():
  _needs_mujoco()
  first = _body("ellipsoid", (0.0, -5.0, 4.0), (2.0, 0.0, 0.0))
  second = _body("ellipsoid", (1.0, -5.0, 4.0))
  poses = physics.simulate([first, second], 51)
  ends = [np.diff(place, axis=0)[[0, 40]] * 50 for _, place in poses]
  assert ends[0][1][0] < 1.9 and ends[1][1][0] > 0.1
  total = ends[0][:, 0] + ends[1][:, 0]
  np.testing.assert_allclose(total[1], total[0], atol=1e-3)


def test_a_tumbling_scene_is_made_like_any_other():
  _needs_mujoco()
  options = scenes.SceneOptions(5, 24, 32, "tumble", 2)
  first, again, other = (
    scenes.make_scene(3, options),
    scenes.make_scene(3, options),
    scenes.make_scene(3, options, 99),
  )
  moving = [
    [p for p in scene.world.items if p.object_number]
    for scene in (first, again, other)
  ]
  assert 2 <= len(moving[0]) <= 3
  for one, two, three in zip(*moving):
    np.testing.assert_array_equal(one.translation, two.translation)
    np.testing.assert_allclose(one.translation[0], three.translation[0])
    assert (one.translation[-1] != three.translation[-1]).any()
    assert one.translation[-1, 1] > one.translation[0, 1]  # Down.


def test_without_mujoco_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "mujoco", None)
  with pytest.raises(errors.UserError, match=r"more4d_jax\[sim\]"):
    physics.simulate([_body()], 3)
