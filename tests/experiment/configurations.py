"""Configurations of size nano for the tests of this folder."""

import importlib

from more4d_jax.experiment import config_reader, run


def values(name, **changes):
  """A ConfigDict of a file of configs/, with changes by dotted name."""
  module = importlib.import_module(f"configs.{name}")
  config = module.get_config("size=nano")
  config.update_from_flattened_dict(changes)
  return config


def read(name, **changes):
  """The same, read."""
  return config_reader.read(values(name, **changes))


def task(name, **changes):
  """The task of such a configuration."""
  return run.make_task(read(name, **changes))
