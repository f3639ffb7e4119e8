"""How samples differ, with made-up networks whose figures are known."""

import numpy as np
import pytest

from more4d_jax import evaluate_bundle, evaluate_spread
from tests import evaluate_chain_test


class _Seeded(evaluate_chain_test.Pipe):
  """Moves at 0.5, 1.5, 2.5 times the true speed, by the noise's seed."""

  def tracks(self, pictures):
    for batch in pictures:
      ((self._speed, _), *_) = batch.noise_keys
      self._speed += 0.5
      yield from super().tracks([batch])


def test_the_best_of_three_samples_and_how_they_differ():
  examples = [evaluate_chain_test.example(side) for side in (1, -1, 1)]
  found = evaluate_spread.evaluate_samples(
    _Seeded(2.0, 1.0), examples, evaluate_bundle.Options(batch=2), 3
  ).figures
  # Errors of 0.5, 0.5 and 1.5 of the motion; pairs are 1, 1 and 2 apart.
  assert found["motion_relative"] == pytest.approx(2.5 / 3, rel=1e-4)
  assert found["best_motion_relative"] == pytest.approx(0.5, rel=1e-4)
  assert found["diversity"] == pytest.approx(4 / 3, rel=1e-4)
  assert found["seed_spread"] == pytest.approx(1 / 3**0.5, rel=1e-4)
  assert found["samples"] == found["scenes"] == 3


def test_errors_of_depth_by_their_size():
  examples = [evaluate_chain_test.example(side) for side in (1, -1)]
  pipe = evaluate_chain_test.Pipe(1.0, 1.0)
  none, some, more = (
    evaluate_spread.evaluate_depth_noise(
      pipe, examples, evaluate_bundle.Options(), level
    ).figures
    for level in (0.0, 1.0, 2.0)
  )
  assert none["depth_error"] == none["relative"] == 0
  assert 0 < some["depth_error"] < more["depth_error"]
  assert 0 < some["depth_error_scaled"] < more["depth_error_scaled"]
  assert some["relative"] > 0 and none["points_within"] == 1


def test_scenes_in_which_nothing_moves_give_no_figures():
  still = evaluate_chain_test.example(1)
  still["tracks"] = np.repeat(still["tracks"][:1], 5, 0)
  pipe = evaluate_chain_test.Pipe(1.0, 1.0)
  options = evaluate_bundle.Options()
  for found in (
    evaluate_spread.evaluate_samples(pipe, [still], options, 2),
    evaluate_spread.evaluate_depth_noise(pipe, [still], options, 1.0),
  ):
    assert found.figures == {"scenes": 0} and not found.intervals
