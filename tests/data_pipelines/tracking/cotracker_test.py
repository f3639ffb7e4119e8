"""The adapter of CoTracker3, with a network that answers as it does."""

import types

import numpy as np
import pytest

from data_pipelines.importers import geometry
from data_pipelines.tracking import cotracker

torch = pytest.importorskip("torch", reason="make reference installs PyTorch")


class _Network(torch.nn.Module):
  """Moves every query by two pixels a frame; those at the left are hidden."""

  def forward(self, video, queries):
    assert video.dtype == torch.float32
    assert video.shape[2] == 3
    frames = video.shape[1]
    steps = torch.arange(frames, dtype=torch.float32)[None, :, None, None]
    tracks = queries[:, None, :, 1:] + 2 * steps
    return tracks, tracks[..., 0] >= 4


@pytest.fixture
def network(monkeypatch):
  hub = types.SimpleNamespace(load=lambda *names: _Network())
  monkeypatch.setattr(torch, "hub", hub)
  cotracker._predictor.cache_clear()
  yield
  cotracker._predictor.cache_clear()


def test_positions_are_in_our_pixels_and_in_order(network, monkeypatch):
  monkeypatch.setattr(cotracker, "_AT_ONCE", 7)
  video = np.zeros((3, 6, 8, 3), np.uint8)
  positions, visible = cotracker.track(video)
  grid = geometry.pixel_grid(6, 8)
  for t in range(3):
    np.testing.assert_allclose(positions[t], grid + 2 * t)
    np.testing.assert_array_equal(visible[t], grid[..., 0] - 0.5 + 2 * t >= 4)
