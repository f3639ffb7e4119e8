import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from more4d_jax.rendering import fill

_SIZE = (40, 64)
_fill = jax.jit(fill.fill_frame)


def _scene(background):
  """A red square before a background, with a hole at its right side."""
  colour = np.broadcast_to(background, (*_SIZE, 3)).astype(np.float32).copy()
  depth = np.full(_SIZE, 4.0, np.float32)
  coverage = np.ones(_SIZE, bool)
  colour[10:30, 24:30] = [1.0, 0.0, 0.0]
  depth[10:30, 24:30] = 1.5
  coverage[10:30, 30:38] = False
  truth = colour.copy()
  truth[~coverage] = np.broadcast_to(background, truth.shape)[~coverage]
  colour[~coverage], depth[~coverage] = 0, np.inf
  return colour, depth, coverage, truth


def test_a_hole_takes_the_colour_of_the_far_side():
  colour, depth, coverage, truth = _scene([0.2, 0.6, 0.4])
  # The red in front of it counts 0.002.
  np.testing.assert_allclose(_fill(colour, depth, coverage), truth, atol=0.01)


def test_drawn_pixels_stay_and_nothing_drawn_is_black():
  rng = np.random.default_rng(0)
  colour, depth, coverage, _ = _scene(rng.uniform(size=(*_SIZE, 3)))
  filled = np.asarray(_fill(colour, depth, coverage))
  np.testing.assert_array_equal(filled[coverage], colour[coverage])
  assert np.isfinite(filled).all()
  empty = _fill(colour * 0, depth * jnp.inf, coverage & False)
  np.testing.assert_array_equal(empty, 0)


def test_a_floor_behind_is_not_taken_for_the_wall_above_it():
  colour, depth, coverage, _ = _scene([0.2, 0.6, 0.4])
  wall = np.arange(_SIZE[0]) < 16
  colour[wall[:, None] & (depth > 2)] = [0.0, 0.0, 1.0]
  depth[wall[:, None] & (depth > 2)] = 12.0
  colour[~coverage], depth[~coverage] = 0, np.inf
  filled = np.asarray(_fill(colour, depth, coverage))
  hole = filled[20:29, 31:38]
  # Four rows below the wall its blue, 0.6 away, is a quarter at most.
  assert np.abs(hole - np.asarray([0.2, 0.6, 0.4])).max() < 0.15
  np.testing.assert_allclose(
    hole[4:], np.full_like(hole[4:], [0.2, 0.6, 0.4]), atol=0.08
  )


def test_fill_is_closer_and_no_less_sharp_than_nearest_colours():
  rng = np.random.default_rng(1)
  smooth = scipy.ndimage.gaussian_filter(
    rng.normal(size=(*_SIZE, 3)), (1.2, 1.2, 0)
  )
  background = (0.5 + 0.6 * smooth).clip(0, 1).astype(np.float32)
  colour, depth, coverage, truth = _scene(background)
  filled = np.asarray(_fill(colour, depth, coverage))
  _, index = scipy.ndimage.distance_transform_edt(
    ~coverage, return_indices=True
  )
  nearest = colour[tuple(index)]
  error = [np.mean((v - truth)[~coverage] ** 2) for v in (filled, nearest)]
  assert error[0] < 0.8 * error[1]  # At least 1 dB.
  energy = [
    sum(np.mean(np.diff(v[11:29, 31:37], axis=a) ** 2) for a in (0, 1))
    for v in (filled, truth)
  ]
  assert 0.4 < energy[0] / energy[1] < 1.6


def test_borders_are_extended():
  colour = np.linspace(0.2, 0.8, _SIZE[0])[:, None, None]
  colour = np.broadcast_to(colour, (*_SIZE, 3)).astype(np.float32)
  coverage = np.arange(_SIZE[1]) >= 12
  coverage = np.broadcast_to(coverage, _SIZE)
  shown = np.where(coverage[..., None], colour, 0)
  filled = _fill(shown, np.full(_SIZE, 3.0, np.float32), coverage)
  # Half of each colour is carried straight, half spreads along the border.
  np.testing.assert_allclose(filled, colour, atol=0.15)


def test_composition_keeps_what_is_sure_and_fills_holes():
  coverage = np.zeros((1, *_SIZE), bool)
  coverage[:, :, 20:] = True
  rendering = np.ones((1, *_SIZE, 3), np.float32)
  found = np.asarray(
    fill.compose(rendering, np.zeros_like(rendering), coverage)
  )[0, ..., 0]
  assert (found[:, :20] == 0).all() and (found[:, 25:] == 1).all()
  assert (np.diff(found[5, 18:26]) >= 0).all()
  assert ((found > 0) & (found < 1)).any()
