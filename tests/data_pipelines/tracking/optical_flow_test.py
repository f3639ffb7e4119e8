"""The baseline tracker against motion that is known."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from data_pipelines.importers import geometry
from data_pipelines.tracking import optical_flow

pytest.importorskip("cv2", reason="OpenCV is the extra [track]")

_FRAMES, _HEIGHT, _WIDTH = 7, 96, 128
_PATCH = (slice(30, 70), slice(20, 60))
_PAN = np.array([0.9, -0.5])  # Pixels a frame.
_STEP = 4  # Pixels a frame, of the patch to the right.


@pytest.fixture(scope="module")
def film():
  """A patch before a background; both move evenly."""
  ground = data.astronaut()[100:300, 100:340].astype(np.float32)
  patch = data.chelsea()[100:140, 150:190]
  frames = []
  for t in range(_FRAMES):
    x, y = t * _PAN
    moved = ndimage.shift(ground, (y, x, 0), order=3, mode="nearest")
    frame = moved[50 : 50 + _HEIGHT, 50 : 50 + _WIDTH].clip(0, 255)
    rows, columns = _PATCH
    start = columns.start + _STEP * t
    frame[rows, start : start + 40] = patch
    frames.append(frame.astype(np.uint8))
  return np.stack(frames)


@pytest.fixture(scope="module")
def truth():
  """Positions [T H W 2], visibility, and where the patch starts [H W]."""
  start = geometry.pixel_grid(_HEIGHT, _WIDTH)
  inside = np.zeros((_HEIGHT, _WIDTH), bool)
  inside[_PATCH] = True
  times = np.arange(_FRAMES)[:, None, None, None]
  steps = np.where(inside[..., None], [_STEP, 0], _PAN)
  positions = start + times * steps
  edges = _PATCH[1].start + _STEP * np.arange(_FRAMES)[:, None, None]
  x, y = np.moveaxis(positions, -1, 0)
  behind = (x > edges) & (x < edges + 40) & (y > 30) & (y < 70) & ~inside
  outside = (x < 0) | (x > _WIDTH) | (y < 0) | (y > _HEIGHT)
  return positions, ~(behind | outside), inside


@pytest.fixture(scope="module")
def found(film):
  return optical_flow.track(film)


def test_points_are_followed_to_a_fraction_of_a_pixel(found, truth):
  positions, visible = found
  wanted, shown, inside = truth
  error = np.linalg.norm(positions - wanted, axis=-1)
  both = visible & shown
  assert np.median(error[both]) < 0.25
  assert (error[both] < 1).mean() > 0.85
  assert np.median(error[-1][inside]) < 0.5


def test_points_that_get_covered_are_said_to_be_hidden(found, truth):
  _, visible = found
  _, shown, _ = truth
  assert (visible == shown).mean() > 0.93
  assert visible[-1][~shown[-1]].mean() < 0.4


def test_hidden_points_move_along_with_their_surroundings(found, truth):
  positions, visible = found
  wanted, _, inside = truth
  hidden = ~visible[-1] & ~inside
  error = np.linalg.norm(positions[-1] - wanted[-1], axis=-1)[hidden]
  still = np.linalg.norm(positions[0] - wanted[-1], axis=-1)[hidden]
  assert np.median(error) < 0.5 * np.median(still)


def test_the_first_frame_is_the_grid_and_nothing_moves_in_a_still(film):
  positions, visible = optical_flow.track(np.repeat(film[:1], 3, axis=0))
  np.testing.assert_allclose(positions, positions[:1].repeat(3, 0), atol=0.05)
  assert visible.all()
