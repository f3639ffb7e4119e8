"""Numbers of a config.json: taken, absent, or refused in one line."""

import math

import pytest

from more4d_jax import errors
from more4d_jax.name_maps import depth_anything, dit, stated


def test_numbers():
  assert stated.number({}, "eps", 0, 1) is None
  assert stated.number({"eps": 0.5}, "eps", 0, 1) == 0.5
  assert stated.count({"n": 7.0}, "n", 1, 9) == 7
  found = dit.Stated.read({"num_attention_heads": 3, "eps": 1e-5, "x": []})
  assert found == dit.Stated(num_heads=3, eps=1e-5)


@pytest.mark.parametrize(
  "value", ["2", True, [2], {}, 0, -3, 1.5, math.nan, math.inf, 10**30]
)
def test_what_is_no_count(value):
  with pytest.raises(errors.UserError, match=r"config\.json states num"):
    dit.Stated.read({"num_heads": value})


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"max_depth": "far"}, "max_depth 'far'"),
    ({"backbone_config": [1]}, "backbone_config that is no JSON object"),
    ({"backbone_config": {"out_indices": "1"}}, "out_indices 1"),
    ({"backbone_config": {"out_indices": [0, 1]}}, "stages from 1"),
    ({"backbone_config": {"num_attention_heads": 0}}, "num_attention_heads"),
  ],
)
def test_configurations_of_depth_networks(change, words):
  values = {"depth_estimation_type": "metric", "max_depth": 20, **change}
  with pytest.raises(errors.UserError) as caught:
    depth_anything.Stated.read(values, transformers=True)
  assert words in str(caught.value)
