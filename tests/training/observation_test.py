"""Figures of speed against their definitions; profiles of some steps."""

import jax
import jax.numpy as jnp
import pytest

from more4d_jax import errors
from more4d_jax.training import profiling, throughput


def test_rates_are_those_of_one_device_and_second():
  work = throughput.Work(samples=12, tokens=100, operations=6e9, peak=1e9)
  devices = jax.devices()[:4]
  found = throughput.figures(work, 2.0, 0.5, devices)
  assert found["samples_per_second_and_device"] == 12 / 2 / 4
  assert found["tokens_per_second_and_device"] == 1200 / 2 / 4
  assert found["utilisation"] == pytest.approx(6e9 / 2 / 4e9)
  assert found["input_wait"] == 0.25
  unknown = throughput.figures(throughput.Work(samples=1), 1.0, 0.0, devices)
  assert not {"utilisation", "tokens_per_second_and_device"} & set(unknown)


@pytest.mark.parametrize("text", ["5", "a:b", "0:3", "4:3", "1:2:3"])
def test_profiles_that_are_none_are_refused(text):
  with pytest.raises(ValueError, match=r"profile is .*: expected"):
    profiling.parse(text)


def test_the_steps_that_were_asked_for_are_profiled(tmp_path):
  profile = profiling.Profile(profiling.parse("2:3"), tmp_path)
  seen = []
  for step in range(1, 5):
    profile.before(step)
    profile.after(step, jnp.ones(3) * step)
    seen.append(len(list(tmp_path.rglob("*.xplane.pb"))))
  assert seen == [0, 0, 1, 1]
  assert profiling.parse("") is None
  with pytest.raises(errors.UserError, match="this run does steps 5 to 9"):
    profiling.check((2, 3), 5, 9)
