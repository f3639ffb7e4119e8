"""One declaration of a sampler's settings serves every place that has them."""

import dataclasses

import pytest

from configs import strag, vism
from more4d_jax import errors
from more4d_jax.cli import sampling_flags
from more4d_jax.sampling import sampler_options


def test_every_setting_says_what_it_is():
  for name, option in sampler_options.OPTIONS.items():
    assert option.help.endswith("."), name
  flags = list(sampler_options.FLAGS.values())
  assert len(set(flags)) == len(flags)


@pytest.mark.parametrize(
  ("module", "kind", "alone"),
  [(strag, "strag", "smoothing"), (vism, "vism", "keep_rendered")],
)
def test_configurations_hold_the_settings_of_their_network(module, kind, alone):
  section = module.get_config("size=nano").sampling
  assert set(section) == set(sampler_options.section(kind))
  others = {"smoothing", "keep_rendered"} - {alone}
  assert set(section) == set(sampler_options.FLAGS) - others


def test_flags_are_the_settings_and_leave_out_what_is_not_given():
  names = {field.name for field in dataclasses.fields(sampling_flags.DEFAULT)}
  flags = sampler_options.FLAGS.values()
  assert names == {flag.replace("-", "_") for flag in flags}
  assert sampling_flags.overrides(sampling_flags.DEFAULT) == {}
  given = sampling_flags.SamplingFlags(steps=4, guidance=1.0, cfg_skip=0.5)
  assert sampling_flags.overrides(given) == {
    "num_steps": 4,
    "guidance_scale": 1.0,
    "cfg_skip": 0.5,
  }


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    ({"steps": 0}, "expected --steps of at least 1, found 0"),
    ({"cfg_skip": 2.0}, "expected --cfg-skip of 0 to 1, found 2.0"),
    ({"shift": float("inf")}, "expected --shift of 0.01 to 100, found inf"),
  ],
)
def test_a_flag_out_of_range_is_one_line_that_names_it(flags, words):
  with pytest.raises(errors.UserError, match=words):
    sampling_flags.overrides(sampling_flags.SamplingFlags(**flags))


def test_an_unknown_setting_is_refused():
  with pytest.raises(ValueError, match=r"expected settings of .* 'warmth'"):
    sampler_options.check_overrides({"warmth": 1})
