"""Bootstrap intervals against what is known about means."""

import numpy as np
import pytest

from more4d_jax.evaluation import intervals


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
  values = np.random.default_rng(0).standard_normal(400) + 5
  low, high = intervals.mean_interval(values)
  half = 1.96 * values.std() / 20
  assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
  assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_a_quotient_is_drawn_in_pairs():
  """Errors of a third of every reference: the quotient never varies."""
  references = np.random.default_rng(1).uniform(1, 9, 50)
  found = intervals.quotient_interval(references / 3, references)
  assert found == pytest.approx((1 / 3, 1 / 3))


def test_figures_that_some_scenes_lack():
  rows = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 6.0}, {"a": 2.0, "c": 1.0}]
  found = intervals.of_rows(rows, [("half", "a", "b")])
  assert set(found) == {"a", "b", "half"}
  assert found["a"] == pytest.approx((1, 3), abs=0.4)
  assert found["half"] == pytest.approx((0.5, 0.5))
