"""What is told of a step that was not finite."""

import numpy as np
import pytest

from more4d_jax.data import loader
from more4d_jax.experiment import explaining


class _Record:
  def __init__(self, name):
    self._name = name

  def decode(self, fields):
    assert fields == ("id",)
    return {"id": self._name}


@pytest.mark.parametrize("of_a_record", [1, 3])
def test_the_records_of_a_batch_are_named(of_a_record):
  records = [_Record(name) for name in "abcdef"]
  names = np.repeat(list("abcdef"), of_a_record)
  config = loader.LoaderConfig(global_batch=4, seed=3)
  source = [{"number": np.int32(number)} for number in range(len(names))]
  batches = loader.make_loader(source, lambda item: item, config)
  for _ in range(7):  # More than one epoch.
    numbers = next(batches)["number"]
    found = explaining.record_ids(
      records, len(names), config, batches.get_state()
    )
    assert found == names[numbers].tolist()
  batches.close()


def test_of_many_records_the_first_are_told():
  text = explaining.message([str(number) for number in range(10)], "log in a")
  assert text == "its records are 0, 1, 2, 3, 4, 5, 6, 7 and 2 more; log in a"
