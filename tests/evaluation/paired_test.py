"""The paired test against counting all signs."""

import itertools

import numpy as np
import pytest

from more4d_jax.evaluation import paired


def test_p_is_the_share_of_signs_that_are_as_extreme():
  difference = np.array([-0.1, 0.25, -0.4, 0.55, 0.7, 0.9])
  rank = np.arange(1, 7)
  found = abs((rank * np.sign(difference)).sum())
  sums = [
    abs((rank * signs).sum()) for signs in itertools.product((-1, 1), repeat=6)
  ]
  expected = np.mean(np.array(sums) >= found)
  theirs = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
  found = paired.signed_rank(theirs + difference, theirs)
  assert found == pytest.approx(expected)


def test_equal_methods_do_not_differ():
  values = np.arange(5.0)
  assert paired.signed_rank(values, values) == 1
  assert paired.signed_rank(values + np.arange(1, 6) / 9, values) < 0.1
