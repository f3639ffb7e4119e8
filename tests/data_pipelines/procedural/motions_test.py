"""Every motion of version 2 against its closed form."""

import numpy as np
import pytest

from data_pipelines.procedural import catalogue, scenes
from data_pipelines.procedural.bodies import (
  animal_bodies,
  articulation,
  gaits,
  human_bodies,
)
from data_pipelines.procedural.subjects import (
  impacts,
  jellies,
  pendulums,
  plants,
)

# Those that need nothing else; what MuJoCo moves is in `physics_test`.
_NEW = sorted(set(catalogue.SECOND.mixture) - set(catalogue.FIRST.kinds))
_SOFT = ("jelly", "blob")


def _scene(seed, kind, frames=5):
  return scenes.make_scene(seed, scenes.SceneOptions(frames, 24, 32, kind, 2))


def _moving(scene):
  return [item for item in scene.world.items if item.object_number]


@pytest.mark.parametrize("kind", [k for k in _NEW if k not in _SOFT])
def test_rigid_parts_keep_the_distances_of_their_points(kind):
  material = np.random.default_rng(0).normal(size=(3, 6))
  for seed in range(3):
    scene = _scene(seed, kind)
    assert _moving(scene)
    for item in scene.world.items:
      assert item.shape != "cloth" and item.stretch is None
      places = [item.stage_points(t, material) for t in range(5)]
      apart = [
        np.linalg.norm(p[:, :, None] - p[:, None], axis=0) for p in places
      ]
      np.testing.assert_allclose(apart, apart[:1] * 5, atol=1e-12)
      assert np.linalg.det(item.rotation) == pytest.approx(1)
      if not item.object_number:
        assert (item.translation == item.translation[0]).all()


@pytest.mark.parametrize("kind", ["wheel", "cart"])
def test_wheels_roll_without_slipping(kind):
  """The point on the ground follows a cycloid: it comes to rest there."""
  for seed in range(4):
    for item in _moving(_scene(seed, kind, 33)):
      if item.shape != "cylinder":
        continue
      radius = item.size[0]
      np.testing.assert_allclose(item.translation[:, 1], -radius, atol=1e-12)
      for t in range(0, 32, 5):
        ground = item.translation[t] + [0, radius, 0]
        local = item.local_points(t, ground[:, None])
        moved = item.stage_points(t + 1, local)[:, 0] - ground
        way = np.linalg.norm(item.translation[t + 1] - item.translation[t])
        turn = way / radius
        across = np.hypot(moved[0], moved[2])
        assert across == pytest.approx(radius * (turn - np.sin(turn)), abs=1e-9)
        assert -moved[1] == pytest.approx(radius * (1 - np.cos(turn)), abs=1e-9)


def test_a_pendulum_swings_with_its_period_and_keeps_its_energy():
  angle = pendulums.simple(0.01, 0.0, 2.0, 0.0)
  time = np.linspace(0, 1, len(angle))
  # Small swings are harmonic up to angle^2 / 16.
  np.testing.assert_allclose(angle, 0.01 * np.cos(4 * np.pi * time), atol=1e-6)
  wide = pendulums.simple(2.0, 0.0, 1.0, 0.0)
  speed = np.gradient(wide, 1 / (len(wide) - 1), edge_order=2)
  energy = 0.5 * speed**2 - (2 * np.pi) ** 2 * np.cos(wide)
  assert np.ptp(energy) < 1e-3 * np.ptp(np.cos(wide)) * 40
  damped = pendulums.simple(1.0, 0.0, 2.0, 1.5)
  assert np.abs(damped[-300:]).max() < 0.6


def test_a_double_pendulum_keeps_its_energy():
  cycles = 0.9
  first, second = pendulums.double((1.0, -0.2), cycles)
  step = 1 / (len(first) - 1)
  fast, faster = np.gradient(first, step), np.gradient(second, step)
  stiff = (2 * np.pi * cycles) ** 2
  kinetic = fast**2 + 0.5 * faster**2
  kinetic += fast * faster * np.cos(first - second)
  energy = kinetic - stiff * (2 * np.cos(first) + np.cos(second))
  # Differences over a step of 1/1200 are off by its square.
  assert np.ptp(energy[2:-2]) < 2e-3 * kinetic.max()


def test_a_pendulums_bob_stays_at_the_length_of_its_rod():
  for seed in range(6):
    items = _moving(_scene(seed, "pendulum", 17))
    rods = [item for item in items if item.shape == "capsule"]
    bobs = [item for item in items if item.shape != "capsule"]
    assert len(rods) == len(bobs) in (1, 2)
    pivot = None
    for rod, bob in zip(rods, bobs):
      ends = [
        rod.stage_points(t, np.array([[0, 0], [-1, 1], [0, 0]]) * rod.size[1])
        for t in range(17)
      ]
      start, end = np.moveaxis(np.array(ends), 2, 0)
      np.testing.assert_allclose(end, bob.translation, atol=1e-12)
      expected = start[:1] if pivot is None else pivot
      np.testing.assert_allclose(
        start, np.broadcast_to(expected, start.shape), atol=1e-12
      )
      pivot = bob.translation


def _collision(**changes):
  values = {
    "start": np.array([[0.0, 0.0], [1.5, 0.3]]),
    "velocity": np.array([[2.0, 0.1], [-0.5, 0.2]]),
    "radius": np.array([0.3, 0.2]),
    "bounce": 0.9,
  }
  return impacts.Collision(**(values | changes))


@pytest.mark.parametrize("bounce", [1.0, 0.6, 0.0])
def test_a_collision_conserves_momentum_and_loses_the_energy_it_should(bounce):
  event = _collision(bounce=bounce)
  before, after, mass = event.velocity, event.after(), event.mass[:, None]
  np.testing.assert_allclose((mass * before).sum(0), (mass * after).sum(0))
  energy = [(mass * v**2).sum() for v in (before, after)]
  if bounce == 1:
    assert energy[1] == pytest.approx(energy[0])
  else:
    assert energy[1] < energy[0]
  touch = event.paths(np.array([event.time()]))[:, 0]
  normal = (touch[1] - touch[0]) / np.linalg.norm(touch[1] - touch[0])
  closing = (before[0] - before[1]) @ normal
  assert (after[1] - after[0]) @ normal == pytest.approx(bounce * closing)
  # Along the touching plane nothing changes: the balls are smooth.
  np.testing.assert_allclose(
    (after - before) @ [-normal[1], normal[0]], 0, atol=1e-12
  )
  # Balls of different size touch where their centres are r1 + r2 apart.
  rise = np.diff(event.radius)[0]
  assert np.hypot(*np.diff(touch, axis=0)[0]) == pytest.approx(
    np.sqrt(event.radius.sum() ** 2 - rise**2)
  )


def test_balls_that_miss_go_straight_on():
  event = _collision(velocity=np.array([[2.0, 0.0], [2.0, 0.0]]))
  assert event.time() == np.inf
  wide = _collision(start=np.array([[0.0, 0.0], [1.5, 3.0]]))
  assert wide.time() == np.inf


def test_colliding_balls_of_a_scene_conserve_momentum_and_never_overlap():
  changed = 0
  for seed in range(5):
    scene = _scene(seed, "collision", 41)
    first, second = _moving(scene)
    radius = np.array([first.size[0], second.size[0]])
    places = np.stack([first.translation, second.translation])
    apart = np.linalg.norm(places[0] - places[1], axis=-1)
    assert apart.min() > radius.sum() - 1e-9
    velocity = np.diff(places, axis=1) * 40
    momentum = (radius[:, None, None] ** 3 * velocity).sum(0)
    # The step in which they touch mixes both velocities.
    calm = np.abs(np.diff(velocity[0], axis=0)).max(-1) > 1e-9
    steps = np.flatnonzero(~np.isin(np.arange(40), np.flatnonzero(calm) + 1))
    spread = np.ptp(momentum[steps], axis=0).max()
    assert spread < 1e-9
    changed += calm.any()
    assert np.diff(np.sign(np.diff(apart)))[np.diff(apart)[:-1] != 0].any()
  assert changed == 5


def test_what_falls_does_so_at_g_and_bounces_to_its_share_of_the_height():
  times = np.linspace(0, 1, 2001)
  height = impacts.bounces(0.5, times, 0.8)
  landing = np.sqrt(2 * 0.5 / 9.81)
  free = np.abs(times - landing) > 2e-3
  second = np.diff(height, 2) / (times[1] ** 2)
  flying = free[1:-1] & (np.abs(times[1:-1] - 2.6 * landing) > 2e-3)
  np.testing.assert_allclose(second[flying], -9.81, atol=1e-3)
  later = (times > landing) & (times < 2.6 * landing)
  assert height[later].max() == pytest.approx(0.5 * 0.8**2, rel=1e-4)
  assert height.min() >= 0 and height.min() < 1e-3


@pytest.mark.parametrize("kind", ["door", "chest"])
def test_doors_and_lids_turn_about_a_fixed_hinge(kind):
  """A rigid motion with one still line: the hinge, on the edge of the leaf."""
  for seed in range(6):
    for item in _moving(_scene(seed, kind)):
      if item.shape != "box":
        continue
      axis = 1 if kind == "door" else 0
      corners = (
        item.size[:, None]
        * np.array(
          [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 0, 1)]
        ).T
      )
      first, last = item.stage_points(0, corners), item.stage_points(4, corners)
      still = np.linalg.norm(last - first, axis=0) < 1e-9
      assert still.sum() == 2  # The two ends of the hinge.
      ends = corners[:, still]
      assert np.ptp(ends[axis]) == pytest.approx(2 * item.size[axis])
      turn = item.rotation[0].T @ item.rotation[4]
      np.testing.assert_allclose(turn[axis], np.eye(3)[axis], atol=1e-12)
      angle = np.degrees(np.arccos(0.5 * (np.trace(turn) - 1)))
      quick = "quickly" in _scene(seed, kind).caption
      assert (
        (66 if quick else 26) - 1e-6 <= angle <= (84 if quick else 36) + 1e-6
      )


def test_a_drawer_slides_straight_out_of_its_cabinet():
  for seed in range(4):
    front, knob = _moving(_scene(seed, "drawer"))
    way = np.diff(front.translation, axis=0)
    np.testing.assert_allclose(
      way, np.diff(knob.translation, axis=0), atol=1e-12
    )
    out = front.rotation[0][:, 2]
    np.testing.assert_allclose(way, (way @ out)[:, None] * out, atol=1e-12)
    assert (front.rotation == front.rotation[0]).all()


def _soles(item, sole):
  """Lowest points below the ankles, which end the shins."""
  ankle = np.array([[0.0], [item.size[1]], [0.0]])
  places = [
    item.stage_points(t, ankle)[:, 0] for t in range(len(item.rotation))
  ]
  return np.array(places) + np.array([0, sole, 0])


@pytest.mark.parametrize("body", ["person", "dog"])
def test_the_standing_foot_of_a_walk_neither_slips_nor_sinks(body):
  if body == "person":
    legs = human_bodies.legs_of(1.7)
  else:
    legs = animal_bodies.legs_of(animal_bodies.SPECIES["dog"], 0.8)
  gait = gaits.Gait(swing=0.42, lift=0.2, cycles=1.3, phase=0.1)
  walk = gaits.walk(legs, gait, np.linspace(0, 1, 600))
  ahead, below = legs.ankle(walk.thigh, walk.knee)
  place, down = walk.forward + ahead, below.max(axis=0) - below
  stands = down < 1e-12
  assert stands.any(axis=0).all()
  both = stands[:, 1:] & stands[:, :-1]
  slips = np.abs(np.diff(place, axis=1))[both]
  assert slips.max() < 1e-12 and both.any(axis=0).mean() > 0.99
  # Four half steps a period.
  step = 0.99 * (legs.thigh + legs.shin) * np.sin(0.42)
  assert walk.forward[-1] == pytest.approx(1.3 * 4 * step)
  assert walk.knee.min() > 0 and np.abs(np.diff(walk.thigh)).max() < 0.05
  assert down.max() == pytest.approx(
    0.2 * 0.99 * (legs.thigh + legs.shin), rel=1e-3
  )


def test_people_stand_on_the_ground_unless_they_jump():
  on_ground, lifted = 0, 0
  for seed in range(40):
    scene = _scene(seed, "person", 9)
    shins = [
      item
      for item in _moving(scene)
      if item.shape == "capsule" and item.materials[0].colours[0].tolist()
    ]
    height = 4.3 * scene.shot.radius
    shin = [i for i in shins if np.isclose(i.size[0], 0.043 * height)]
    assert len(shin) == 2
    lowest = np.max([_soles(i, 0.035 * height)[:, 1] for i in shin], axis=0)
    jumps = any(w in scene.caption for w in ("jump", "hops"))
    if jumps:
      lifted += lowest.min() < -0.05 * height
      assert lowest.max() < 1e-9
    else:
      np.testing.assert_allclose(lowest, 0, atol=1e-9)
      on_ground += 1
  assert on_ground > 20 and lifted > 3


def test_jelly_keeps_its_volume_and_its_foot_on_the_ground():
  height = np.array([0.5, 1.0, 1.7])
  assert np.linalg.det(jellies.squashed(height)) == pytest.approx(1)
  assert np.linalg.det(jellies.sheared(height)) == pytest.approx(1)
  rng = np.random.default_rng(0)
  ball = rng.normal(size=(3, 20000))
  ball /= np.linalg.norm(ball, axis=0)
  for seed in range(12):
    scene = _scene(seed, "jelly")
    (item,) = _moving(scene)
    material = item.size[:, None] * (
      ball if item.shape == "ellipsoid" else ball / np.abs(ball).max(axis=0)
    )
    lowest = [item.stage_points(t, material)[1].max() for t in range(5)]
    # 20000 directions miss the lowest point by a thousandth of the size.
    assert max(lowest) < 1e-9 and min(np.abs(lowest)) < 3e-3 * item.size[1]
    grows = any(w in scene.caption for w in ("grow", "swell", "larger"))
    volume = np.linalg.det(item.stretch)
    if grows:
      assert volume[-1] > 1.3
    elif not any(w in scene.caption for w in ("shrink", "smaller")):
      assert volume == pytest.approx(1)


def test_the_pieces_of_a_stem_stay_joined():
  angles = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 6))
  root = articulation.standing((1.0, 0.0, 2.0), 0.3, 6)
  lengths = (0.5, 0.4, 0.3, 0.2)
  frames = plants.stem(root, lengths, angles, 0.7)
  np.testing.assert_allclose(frames[0].origin, root.origin)
  for lower, upper, length in zip(frames, frames[1:], lengths):
    np.testing.assert_allclose(lower.at((0, -length, 0)), upper.origin)
  up = -frames[-1].rotation[:, :, 1]
  total = angles.sum(axis=0)
  np.testing.assert_allclose(-up[:, 1], np.cos(total), atol=1e-12)
