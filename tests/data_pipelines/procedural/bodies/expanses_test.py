"""Ground, water and cards against closed forms and derivatives."""

import numpy as np

from data_pipelines.procedural.bodies import expanses


def _rng(seed=0):
  return np.random.default_rng(seed)


def _swell():
  rng = _rng()
  return expanses.Swell(
    rng.normal(size=(4, 2)) * 3,
    np.full(4, 0.006),
    rng.uniform(0, 6, 4),
    rng.uniform(0.5, 1.5, 4),
    np.array([0.3, -1.0]),
    6.0,
  )


def _body(kind, shape, size, **more):
  return kind(
    shape,
    np.array(size, np.float64),
    np.repeat(np.eye(3)[None], 3, axis=0),
    np.tile([0.2, 0.1, 5.0], (3, 1)),
    (None,),
    1,
    **more,
  )


def _rays(count=400):
  rng = _rng(3)
  way = np.stack(
    [rng.normal(0, 0.5, count), rng.uniform(0.05, 0.6, count), np.ones(count)]
  )
  return np.array([[0.0], [-1.5], [0.0]]), way


def test_slopes_of_waves_are_derivatives_of_their_height():
  swell, step = _swell(), 1e-5
  x, z = _rng(1).uniform(-5, 5, (2, 100))
  _, along_x, along_z = swell.lift(x, z, 0.4)
  for slope, dx, dz in ((along_x, step, 0), (along_z, 0, step)):
    ahead = swell.lift(x + dx, z + dz, 0.4)[0]
    behind = swell.lift(x - dx, z - dz, 0.4)[0]
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), atol=1e-7)


def test_rays_meet_the_waves_where_they_are():
  water = _body(expanses.Water, "water", [50, 0, 50], wave=_swell())
  origin, way = _rays()
  t = water.hit(1, origin, way)
  seen = np.isfinite(t)
  assert seen.mean() > 0.8
  local = water.local_points(1, origin + t[seen] * way[:, seen])
  lift, _, _ = water.wave.lift(local[0], local[2], water.time(1))
  np.testing.assert_allclose(local[1], -lift, atol=1e-9)
  back = water.stage_points(1, water.material_points(1, local))
  np.testing.assert_allclose(back, origin + t[seen] * way[:, seen], atol=1e-9)
  later = water.stage_points(2, water.material_points(1, local))
  assert np.abs(later - back)[1].max() > 1e-3
  assert not np.abs(later - back)[[0, 2]].any()


def test_the_ground_is_a_plane_of_a_size():
  ground = _body(expanses.Ground, "ground", [3, 0, 2])
  origin, way = _rays()
  t = ground.hit(0, origin, way)
  place = origin + (1.6 / way[1]) * way
  inside = (np.abs(place[0] - 0.2) < 3) & (np.abs(place[2] - 5) < 2)
  np.testing.assert_array_equal(np.isfinite(t), inside)
  np.testing.assert_allclose(t[inside], (1.6 / way[1])[inside])
  assert not np.isfinite(ground.hit(0, origin, -way)).any()


def test_cards_have_holes_and_bend():
  holes = np.zeros((4, 8), bool)
  holes[:2, :4] = True  # Above and to the left.
  stretch = np.tile(np.eye(3), (3, 1, 1))
  stretch[2, 0, 1] = 0.5
  card = _body(expanses.Card, "card", [2, 1, 0], holes=holes, stretch=stretch)
  local = np.array([[-1.0, 1.0, -1.0, 1.0], [-0.5, -0.5, 0.5, 0.5]])
  local = np.concatenate([local, np.zeros((1, 4))])
  for frame in range(3):
    points = card.stage_points(frame, local)
    t = card.hit(frame, np.zeros((3, 1)), points)
    np.testing.assert_array_equal(np.isfinite(t), [False, True, True, True])
    np.testing.assert_allclose(t[1:], 1.0)
    back = card.material_points(frame, card.local_points(frame, points))
    np.testing.assert_allclose(back, local, atol=1e-12)
