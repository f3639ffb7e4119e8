"""Pictures of surfaces, their colours and fields, against other ways."""

import json

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data

from data_pipelines.procedural.surfaces import (
  colours,
  fields,
  images,
  library,
)


def _rng(seed=0):
  return np.random.default_rng(seed)


def test_colours_follow_scikit_image():
  rgb = _rng().random((50, 3))
  lab = colours.to_lab(colours.linear(rgb))
  np.testing.assert_allclose(lab, skimage.color.rgb2lab(rgb), atol=0.02)
  np.testing.assert_allclose(
    colours.from_lab(lab), colours.linear(rgb), atol=1e-9
  )


def test_the_table_of_colours_is_that_of_the_photographs():
  stored = json.loads(colours._TABLE.read_text())
  total = np.zeros((10, 8, 12))
  for name in stored["photographs"]:
    photo = getattr(skimage.data, name)()
    photo = photo[0] if isinstance(photo, tuple) else photo
    lab = skimage.color.rgb2lab(photo[::3, ::3, :3] / 255.0).reshape(-1, 3)
    total += colours.table(lab) / len(stored["photographs"])
  assert np.abs(total - np.array(stored["shares"])).sum() < 0.02
  drawn = np.stack(
    [colours.of_photographs(_rng(n), (0, 100)) for n in range(800)]
  )
  again = colours.table(colours.to_lab(drawn))
  for axes in ((1, 2), (0, 2), (0, 1)):  # Lightness, chroma, hue.
    assert np.abs(again.sum(axes) - total.sum(axes)).sum() < 0.25


@pytest.mark.parametrize("slope", [0.6, 1.0, 1.5])
def test_fractal_fields_have_the_slope_they_are_asked_for(slope):
  field = fields.fractal(_rng(), 256, slope)
  spectrum = np.abs(np.fft.fft2(field))
  radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256) * 256] * 2))
  inside = (radius > 3) & (radius < 100)
  fit = np.polyfit(np.log(radius[inside]), np.log(spectrum[inside]), 1)
  assert abs(fit[0] + slope) < 0.05
  assert abs(field.mean()) < 1e-4 and abs(field.std() - 1) < 1e-4


def test_dead_leaves_lie_within_their_outlines():
  leaves = fields.dead_leaves(_rng(), 128, 400, (3.0, 20.0), 2.0)
  there = leaves.label >= 0
  assert there.mean() > 0.7
  inside = leaves.along**2 + leaves.across**2
  assert inside[there].max() < 1 + 1e-5
  sizes = np.bincount(leaves.label[there])
  assert np.median(sizes[sizes > 0]) < 0.1 * sizes.max()


def test_sampling_is_bilinear_and_far_away_the_mean():
  albedo = _rng().random((256, 256, 3)).astype(np.float32)
  picture = images.Picture.of(albedo, np.zeros((256, 256)))
  u, v = _rng(1).uniform(-2, 2, (2, 200))
  near = images.sample(picture, u, v, np.full(200, 1e-4))
  place = np.stack([v * 256 - 0.5, u * 256 - 0.5])
  for channel in range(3):
    slow = scipy.ndimage.map_coordinates(
      albedo[..., channel], place, order=1, mode="grid-wrap"
    )
    np.testing.assert_allclose(near[:, channel], slow, atol=2e-4)
  far = images.sample(picture, u, v, np.full(200, 4.0))
  mean = np.tile(albedo.mean((0, 1)), (200, 1))
  np.testing.assert_allclose(far[:, :3], mean, atol=1e-3)


@pytest.mark.parametrize("name", sorted(library.SURFACES))
def test_surfaces_are_finite_and_equal_every_time(name):
  first = library.picture(name, 1)
  library.picture.cache_clear()
  second = library.picture(name, 1)
  np.testing.assert_array_equal(first.texels, second.texels)
  assert np.isfinite(first.texels).all()
  if name != "clouds":
    assert first.texels[:, :3].min() >= 0
  if first.holes is not None:
    assert 0.05 < first.holes.mean() < 0.97
