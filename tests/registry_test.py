"""The table of networks: complete, and free to read."""

import dataclasses
import inspect
import subprocess
import sys

import flax.linen as nn
import pytest

from more4d_jax import registry
from more4d_jax.experiment import task
from more4d_jax.models import variants


@pytest.mark.parametrize("kind", registry.NETWORKS)
def test_every_row_names_classes_that_fit_together(kind):
  row = registry.NETWORKS[kind]
  assert dataclasses.is_dataclass(row.config_class)
  assert issubclass(row.module_class, nn.Module)
  assert issubclass(row.task_class, task.Task)
  assert row.task_class.kind == kind
  # The module takes that configuration, and every size has one.
  field = inspect.signature(row.module_class).parameters["config"]
  assert field.annotation is row.config_class
  for size in variants.VARIANTS:
    assert type(getattr(variants.get(size), kind)) is row.config_class


def test_classes_belong_to_one_kind():
  classes = registry.config_classes()
  assert len(set(classes.values())) == len(classes)


def test_choices_of_conditions_have_defaults():
  for kind in registry.SAMPLED:
    assert registry.NETWORKS[kind].conditions_class()


def test_reading_the_table_loads_no_network():
  code = (
    "import sys; from more4d_jax import registry; list(registry.NETWORKS);"
    "print(sorted({'jax', 'flax', 'numpy'} & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"
