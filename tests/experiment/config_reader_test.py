"""A configuration becomes checked dataclasses, or one clear line."""

import dataclasses

import pytest

from more4d_jax import errors, registry
from more4d_jax.experiment import config_reader
from tests.experiment import configurations


@pytest.mark.parametrize("task", registry.NETWORKS)
def test_every_value_of_a_file_arrives(task):
  values = configurations.values(task)
  config = config_reader.read(values)
  assert isinstance(config, registry.NETWORKS[task].task_class.config_class)
  found = config_reader.flat(config)

  def leaves(section, prefix=""):
    for name, value in section.items():
      if hasattr(value, "items"):
        yield from leaves(value, f"{prefix}{name}.")
      else:
        yield f"{prefix}{name}", value

  assert dict(leaves(values)) == found


def test_a_configuration_cannot_be_changed():
  config = configurations.read("depth")
  with pytest.raises(dataclasses.FrozenInstanceError):
    config.seed = 3


def test_a_whole_number_is_a_number_but_a_truth_is_none():
  config = configurations.values("depth").to_dict()
  config["optimizer"]["clip"] = 2
  assert type(config_reader.read(config).optimizer.clip) is float
  config["optimizer"]["clip"] = True
  with pytest.raises(errors.UserError, match="clip is True: expected a number"):
    config_reader.read(config)


@pytest.mark.parametrize(
  ("task", "changes", "message"),
  [
    ("depth", {"task": "deep"}, "task is 'deep': choose one of video_vae,"),
    ("depth", {"batchsize": 3}, "unknown config field batchsize: did you mean"),
    ("depth", {"data.rcords": ""}, "field data.rcords: did you mean data.rec"),
    ("depth", {"num_steps": "many"}, "num_steps is 'many': expected a whole"),
    ("depth", {"num_steps": 2.5}, "num_steps is 2.5: expected a whole"),
    ("depth", {"data.shuffle": 1}, "data.shuffle is 1: expected True or False"),
    ("depth", {"mesh": 3}, "mesh is 3: expected a section"),
    ("depth", {"dtype": "float8"}, "dtype is 'float8': choose one of float32"),
    ("depth", {"size": "huge"}, "size is 'huge': choose one of nano"),
    (
      "depth",
      {"evaluation.records": 0},
      "evaluation.records is 0: expected at",
    ),
    (
      "depth",
      {"augment.mirror_rate": 2.0},
      "mirror_rate is 2.0: expected 0 to",
    ),
    ("depth", {"optimizer.eps": -1.0}, "optimizer.eps is -1.0: expected at"),
    ("video_vae", {"statistics_records": 0}, "statistics_records is 0"),
    ("video_vae", {"loss.depth_share": 2.0}, "loss.depth_share is 2.0"),
    ("motion_vae", {"loss.scale": "Sum"}, "loss.scale is 'Sum': choose one of"),
    ("motion_vae", {"motion.alpha": "1,2,3"}, "motion.alpha is '1,2,3'"),
    ("strag", {"dropout.text": -0.1}, "dropout.text is -0.1: expected 0 to 1"),
    ("strag", {"model.motion_feature": "x"}, "model.motion_feature is 'x'"),
    ("strag", {"sampling.keep_rendered": True}, "field sampling.keep_rendered"),
    ("vism", {"model.lora_rank": -1}, "model.lora_rank is -1"),
    ("vism", {"model.lora_alpha": 0.0}, "a positive alpha"),
  ],
)
def test_a_mistake_is_one_clear_line(task, changes, message):
  values = configurations.values(task).to_dict()
  for name, value in changes.items():
    section, _, field = name.rpartition(".")
    (values[section] if section else values)[field] = value
  with pytest.raises(errors.UserError, match=message) as caught:
    config_reader.read(values)
  assert "\n" not in str(caught.value)


def test_a_missing_field_is_named():
  values = configurations.values("depth").to_dict()
  del values["checkpoint"]["keep"]
  with pytest.raises(errors.UserError, match=r"no field 'checkpoint\.keep'"):
    config_reader.read(values)
