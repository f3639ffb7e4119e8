import numpy as np
import pytest

from benchmarks import depth_order


def test_every_photograph_has_twenty_pairs_inside_it():
  pairs = depth_order.marked()
  assert len(pairs) == 6
  for name, places in pairs.items():
    assert places.shape == (20, 4), name
    assert (places > 0).all(), name
    assert (places < 1).all(), name
    assert depth_order.photograph(name).shape[-1] == 3


def test_agreement_counts_the_pairs_whose_first_place_is_nearer():
  depth = np.linspace(1, 2, 40).reshape(4, 10)  # Farther to the lower right.
  pairs = np.array([[0.1, 0.1, 0.9, 0.1], [0.1, 0.9, 0.9, 0.1]])
  assert depth_order.agreement(depth, pairs) == pytest.approx(0.5)
  assert depth_order.agreement(1 / depth, pairs) == pytest.approx(0.5)
  assert depth_order.agreement(depth, pairs[:1]) == pytest.approx(1.0)


def test_measured_pairs_agree_with_the_measured_depth():
  disparity = np.full((20, 30), np.inf)
  disparity[5:, 3:] = np.linspace(10, 60, 15)[:, None]
  pairs = depth_order._measured(disparity)
  with np.errstate(divide="ignore"):
    assert depth_order.agreement(1 / disparity, pairs) == pytest.approx(1.0)
