"""Figures that evaluation during training shows."""

import numpy as np
import pytest

from more4d_jax.experiment import vism


def test_signal_to_noise_in_holes_is_in_decibels_of_bytes():
  true = np.full((1, 2, 4, 4, 3), 100, np.uint8)
  coverage = np.ones((1, 2, 4, 4), bool)
  coverage[..., 1:3] = False
  completed = np.where(coverage[..., None], true, np.uint8(110))
  rendering = np.where(coverage[..., None], true + np.uint8(5), np.uint8(0))
  figures = vism._figures(rendering, coverage, completed, true)
  # Ten grey levels beside the truth; the nearest colours are five beside it.
  assert figures["hole_psnr"] == pytest.approx(20 * np.log10(255 / 10))
  assert figures["nearest_hole_psnr"] == pytest.approx(20 * np.log10(255 / 5))
