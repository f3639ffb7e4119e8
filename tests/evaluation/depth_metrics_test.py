"""Depth figures against brute force."""

import numpy as np
import pytest

from more4d_jax.evaluation import depth_metrics


def _depths(n=5, height=6, width=9):
  rng = np.random.default_rng(0)
  return rng.uniform(1, 8, (n, height, width)).astype(np.float32)


def test_best_constant_beats_every_other():
  true = _depths().ravel()
  found = depth_metrics.best_constant(true)
  candidates = np.linspace(0.5, 9, 4001)
  errors = (np.abs(candidates[:, None] - true) / true).mean(axis=1)
  assert (np.abs(found - true) / true).mean() <= errors.min() + 1e-12


def test_invalid_depth_does_not_count():
  true = _depths()
  true[0, 0, :3] = [np.nan, np.inf, 0]
  valid = depth_metrics.valid_depth(true)
  assert valid.sum() == true.size - 3
  predicted = np.where(valid, true * np.float32(1.25), np.float32(7))
  error = depth_metrics.absolute_relative_error(predicted, true, valid)
  assert error == pytest.approx(0.25, rel=1e-5)


def test_figures_of_a_row_dependent_truth():
  rows = np.arange(1, 7, dtype=np.float32)[None, :, None]
  true = np.broadcast_to(rows, (4, 6, 9)).copy()
  true[1] *= 2
  figures = depth_metrics.depth_figures(true * np.float32(1.1), true)
  assert figures["absolute_relative"] == pytest.approx(0.1, rel=1e-4)
  # Three images have z and one 2 z: the constant z is best, error 1/8.
  assert figures["row_constant"] == pytest.approx(0.125)
  assert figures["own_row_constant"] == pytest.approx(0, abs=1e-9)
  assert figures["relative"] == pytest.approx(0.8, rel=1e-4)
