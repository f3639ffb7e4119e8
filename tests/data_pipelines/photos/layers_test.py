"""Things and background of depth maps in closed form; filled places."""

import numpy as np
from scipy import ndimage

from data_pipelines.photos import filling, layers

SHAPE = (60, 80)


def ground():
  """Inverse depth of a sloping plane: linear in the picture."""
  rows, columns = np.indices(SHAPE)
  return 0.15 + 0.002 * rows + 0.0002 * columns


def test_a_thing_before_a_plane_is_cut_out(blur=1.0):
  disc = np.hypot(*(np.indices(SHAPE).T - [32, 30]).T) < 14
  inverse = np.where(disc, 0.5, ground())
  # As networks give it: the jump is spread over some pixels.
  soft = ndimage.gaussian_filter(inverse, blur)
  picture = np.random.default_rng(0).uniform(0, 255, (120, 160, 3))
  back, thing = layers.cut(picture, 1 / soft)
  both, either = (thing.shown & disc).sum(), (thing.shown | disc).sum()
  assert both / either > 0.93
  # No points fly between the two: the thing's depth is its own throughout.
  np.testing.assert_allclose(thing.depth[thing.shown], 2.0, rtol=0.06)
  assert back.shown.all()
  np.testing.assert_allclose(1 / back.depth, ground(), rtol=0.12)
  far = ~ndimage.binary_dilation(disc, iterations=8)
  np.testing.assert_allclose(1 / back.depth[far], ground()[far], rtol=0.01)
  twice = far.repeat(2, 0).repeat(2, 1)
  np.testing.assert_array_equal(back.colours[twice], picture[twice])


def test_two_things_apart_are_two():
  inverse = ground()
  inverse[20:45, 8:28] = 0.45
  inverse[15:40, 50:72] = 0.7
  cut = layers.cut(np.zeros((120, 160, 3)), 1 / inverse)
  shown = sorted(int(layer.shown.sum()) for layer in cut[1:])
  assert shown == [25 * 20, 25 * 22]


def test_a_slope_has_nothing_to_cut():
  [back] = layers.cut(np.zeros((120, 160, 3)), 1 / ground())
  np.testing.assert_allclose(back.depth, 1 / ground())


def test_fillings_keep_what_is_known_and_follow_it():
  rows, columns = np.mgrid[:33, :47].astype(float)
  values = np.stack([3 * rows + columns, np.full_like(rows, 7.0)], -1)
  known = np.ones(rows.shape, bool)
  known[10:18, 20:30] = False
  spoiled = np.where(known[..., None], values, -1e3)
  filled = filling.smooth(spoiled, known)
  np.testing.assert_array_equal(filled[known], values[known])
  np.testing.assert_allclose(filled[..., 1], 7.0)
  # Means of known places around: between their smallest and largest.
  assert np.abs(filled - values)[..., 0].max() < 20


def test_texture_goes_on_behind_a_thing():
  stripes = np.where(np.arange(64) % 4 < 2, 200.0, 60.0)
  colours = np.broadcast_to(stripes[None, :, None], (64, 64, 3)).copy()
  known = np.ones((64, 64), bool)
  known[20:44, 20:44] = False
  colours[~known] = 0
  filled = filling.textured(colours, known)
  hole = filled[24:40, 24:40]
  assert hole.std() > 0.3 * stripes.std()
  assert abs(hole.mean() - stripes.mean()) < 25
  np.testing.assert_array_equal(filled[known], colours[known])
