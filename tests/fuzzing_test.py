"""The finder of bad readers finds bad readers."""

import json
import time

import numpy as np
import pytest
from hypothesis import strategies

from more4d_jax import errors
from tests import fuzzing

_GOOD = json.dumps({"frames": [1, 2, 3], "fps": 8.0}).encode()


@pytest.fixture
def path(tmp_path):
  found = tmp_path / "good.json"
  found.write_bytes(_GOOD)
  return found


def _damaged(count=1):
  """Files that differ from the good one in their last byte only."""
  return strategies.integers(0, 255).map(
    lambda last: fuzzing.Damaged(f"last {last}", _GOOD + bytes([last] * count))
  )


def _strict(path):
  if path.read_bytes() != _GOOD:
    raise errors.UserError(f"{path} is damaged: download it again")
  return 1


def test_every_damaged_file_is_counted(path):
  ends = fuzzing.fuzz(_damaged(), path, lambda: _strict(path), count=20)
  assert ends["refused"] >= 10
  assert not ends["read"]
  assert path.read_bytes() == _GOOD


@pytest.mark.parametrize(
  ("fault", "error", "words", "seconds"),
  [
    (lambda: {}["frames"], KeyError, "frames", 10.0),
    (lambda: np.ones(8 << 20), AssertionError, "bytes at once", 10.0),
    (lambda: time.sleep(5), fuzzing.HangError, "took more than", 0.3),
  ],
  ids=["traceback", "memory", "hang"],
)
def test_what_a_reader_must_not_do_is_found(path, fault, error, words, seconds):
  def use():
    return 1 if path.read_bytes() == _GOOD else fault()

  with pytest.raises(error, match=words):
    fuzzing.fuzz(_damaged(), path, use, count=5, seconds=seconds)


def test_what_is_made_at_the_first_use_only_counts_for_none(path):
  made = []

  def use():
    if path.read_bytes() != _GOOD and not made:
      made.append(np.ones(8 << 20))
    return _strict(path)

  assert fuzzing.fuzz(_damaged(), path, use, count=5)["refused"] == 5
  assert len(made) == 1


def test_a_refusal_is_one_line_and_a_result_is_judged(path):
  def lines():
    if path.read_bytes() != _GOOD:
      raise errors.UserError("one\ntwo")

  with pytest.raises(AssertionError, match="several lines"):
    fuzzing.fuzz(_damaged(), path, lines, count=5)

  def right(found):
    assert found == _GOOD, "another content"

  path.write_bytes(_GOOD)
  with pytest.raises(AssertionError, match="another content"):
    fuzzing.fuzz(_damaged(), path, path.read_bytes, right, count=5)


def test_damage_changes_files_in_many_ways(path):
  found = []

  def use():
    found.append(path.read_bytes())

  fuzzing.fuzz(fuzzing.damaged_bytes(_GOOD), path, use, count=60)
  assert len(set(found)) > 40
  sizes = {len(data) for data in found}
  assert min(sizes) < len(_GOOD) < max(sizes)
  found.clear()
  value = json.loads(_GOOD)
  fuzzing.fuzz(fuzzing.damaged_json(value), path, use, count=60)
  values = [json.loads(data) for data in found[1:]]
  assert any(not isinstance(v, dict) for v in values)
  assert any(isinstance(v, dict) and "fps" not in v for v in values)
  assert value == json.loads(_GOOD)


def test_commands_end_as_a_person_sees_them(tmp_path):
  assert "generate" in fuzzing.command(["--help"])
  with pytest.raises(errors.UserError, match="no subcommand"):
    fuzzing.command(["nothing"])
