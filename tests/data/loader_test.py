"""The loader's order against one process, and its position after a restart."""

import collections
import os
import pathlib
import signal
import subprocess
import sys
import time

import grain
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import loader

ROOT = pathlib.Path(__file__).parents[2]
COUNT, BATCH, STEPS = 20, 6, 9


class Draw(grain.transforms.RandomMap):
  """The item and a number that depends on its place in the order."""

  def random_map(self, item, rng):
    return {"item": np.int32(item), "draw": rng.random()}


def number(item):
  return {"item": np.int32(item)}


def load(steps=STEPS, state=None, transform=None, **options):
  config = loader.LoaderConfig(BATCH, seed=3, **options)
  made = loader.make_loader(range(COUNT), transform or Draw(), config)
  if state is not None:
    made.set_state(state)
  batches = [next(made) for _ in range(steps)]
  state = made.get_state()
  made.close()
  return batches, state


def assert_same(found, expected):
  assert len(found) == len(expected)
  for one, other in zip(found, expected):
    for name in other:
      np.testing.assert_array_equal(one[name], other[name])


def test_each_epoch_has_every_example_once():
  batches, _ = load(steps=10)
  order = np.concatenate([batch["item"] for batch in batches])
  for epoch in range(3):
    part = order[epoch * COUNT : (epoch + 1) * COUNT]
    assert sorted(part) == list(range(COUNT))
  assert list(order[:COUNT]) != list(order[COUNT : 2 * COUNT])
  assert list(order[:COUNT]) != list(range(COUNT))


# Rows of each process: equal parts, every other row, shared and uneven ones.
SHARES = [
  ((0, 1, 2), (3, 4, 5)),
  ((0, 2, 4), (1, 3, 5)),
  ((0, 1), (0, 1), (2, 3, 4, 5)),
  ((0, 1), (1, 2, 3), (4, 5)),
]


@pytest.mark.parametrize("shares", SHARES)
def test_processes_share_one_order(shares):
  expected, state = load()
  for rows in shares:
    found, found_state = load(rows=rows)
    assert found_state == state
    assert_same(found, rows_of(expected, rows))


def rows_of(batches, rows):
  """Those rows of batches."""
  return [{n: v[list(rows)] for n, v in batch.items()} for batch in batches]


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("before", [0, 1, 4])
def test_resumed_it_continues(before, threads):
  expected, _ = load()
  _, state = load(steps=before)
  assert state == {"global_next_index": before * BATCH}
  found, _ = load(steps=STEPS - before, state=state, threads=threads)
  assert_same(found, expected[before:])


def test_resumed_in_other_processes_it_continues():
  expected, _ = load()
  _, state = load(steps=4, rows=(3, 4, 5))
  for rows in ((0, 1), (2, 3), (4, 5)):
    found, _ = load(steps=5, state=state, rows=rows)
    assert_same(found, rows_of(expected[4:], rows))


def test_set_state_works_in_the_middle():
  made = loader.make_loader(range(COUNT), Draw(), loader.LoaderConfig(BATCH))
  first = [next(made) for _ in range(3)]
  made.set_state({"global_next_index": 0})
  assert_same([next(made) for _ in range(3)], first)
  made.close()


@pytest.mark.slow
@pytest.mark.parametrize(
  "rows",
  [
    (2, 3),
    pytest.param((), marks=pytest.mark.long),
    pytest.param((0, 2, 4), marks=pytest.mark.long),
  ],
)
def test_workers_give_the_same_order(rows):
  expected, state = load(steps=6)
  found, found_state = load(steps=6, workers=2, rows=rows)
  assert found_state == state
  assert_same(found, rows_of(expected, rows or range(BATCH)))
  # What workers have read goes on without any, in another process.
  rest, _ = load(steps=3, state=found_state)
  assert_same(rest, load(steps=9)[0][6:])


MIXED = (loader.Part(12, 3.0), loader.Part(8, 1.0))


def test_data_sets_are_mixed_in_their_shares():
  batches, _ = load(steps=20, parts=MIXED)
  order = np.concatenate([batch["item"] for batch in batches])
  first, second = order[order < 12], order[order >= 12]
  for place in range(8, len(order) + 1, 8):  # Evenly, not only in the end.
    assert abs((order[:place] < 12).sum() - 0.75 * place) <= 1
  for part, numbers in ((first, range(12)), (second, range(12, 20))):
    for start in range(0, len(part) - len(numbers) + 1, len(numbers)):
      assert sorted(part[start : start + len(numbers)]) == list(numbers)
  assert list(first[:12]) != list(first[12:24])


def test_mixtures_share_one_order_and_continue():
  expected, _ = load(parts=MIXED)
  _, state = load(steps=4, parts=MIXED, rows=(0, 1, 2))
  for rows in ((0, 1), (2, 3), (4, 5)):
    found, _ = load(steps=5, state=state, parts=MIXED, rows=rows)
    assert_same(found, rows_of(expected[4:], rows))


def test_a_part_counts_records_not_examples():
  # Ten records of two examples each.
  parts = (loader.Part(6, 1.0), loader.Part(4, 1.0))
  batches, _ = load(steps=20, parts=parts)
  order = np.concatenate([batch["item"] for batch in batches])
  assert (order < 12).sum() == len(order) / 2


def test_epochs_end():
  made = loader.make_loader(
    range(COUNT),
    number,
    loader.LoaderConfig(BATCH, num_epochs=1, shuffle=False),
  )
  items = [batch["item"].tolist() for batch in made]
  made.close()
  assert items == [list(range(s, s + BATCH)) for s in (0, 6, 12)]


@pytest.mark.parametrize("batch", [1, 6, 20, 50])
def test_batches_in_order_give_everything_once(batch):
  batches = list(loader.batches_in_order(range(COUNT), number, batch))
  assert [len(b["item"]) for b in batches[:-1]] == [batch] * (len(batches) - 1)
  items = np.concatenate([b["item"] for b in batches])
  assert items.tolist() == list(range(COUNT))


def test_random_transforms_in_order_repeat_themselves():
  first, again = (
    list(loader.batches_in_order(range(COUNT), Draw(), 7)) for _ in range(2)
  )
  assert_same(first, again)
  draws = collections.Counter(
    value for batch in first for value in batch["draw"].tolist()
  )
  assert max(draws.values()) == 1


@pytest.mark.parametrize(
  ("source", "options", "message"),
  [
    (range(8), {"global_batch": 0}, "global_batch is 0"),
    (range(8), {"global_batch": 2, "rows": (0, 2)}, r"rows are \(0, 2\)"),
    (range(0), {"global_batch": 2}, "no examples"),
    (range(8), {"global_batch": 9, "num_epochs": 1}, "do not fill one batch"),
    (range(8), {"global_batch": 2, "max_damaged": -1}, "max_damaged is -1"),
    (range(8), {"global_batch": 2, "parts": MIXED}, "do not make up a source"),
    (
      range(8),
      {"global_batch": 2, "parts": (loader.Part(8, -1.0),)},
      "expected positive numbers",
    ),
    (
      range(8),
      {"global_batch": 2, "parts": (loader.Part(8, 1.0),), "num_epochs": 1},
      "has no epochs",
    ),
  ],
)
def test_bad_settings_are_refused(source, options, message):
  with pytest.raises(errors.UserError, match=message):
    loader.make_loader(source, number, loader.LoaderConfig(**options))


def refuse(item):
  raise errors.UserError(f"record {item} is sparse")


def test_errors_of_a_task_arrive():
  config = loader.LoaderConfig(2, max_damaged=100)
  made = loader.make_loader(range(4), refuse, config)
  with pytest.raises(errors.UserError, match="is sparse"):
    next(made)
  made.close()
  with pytest.raises(errors.UserError, match="record 0 is sparse"):
    next(loader.batches_in_order(range(4), refuse, 2))


class Damaged(Draw):
  """Some items cannot be read."""

  def __init__(self, numbers):
    self.numbers = numbers

  def random_map(self, item, rng):
    if item in self.numbers:
      raise errors.DamagedRecordError(f"record {item} is damaged")
    return super().random_map(item, rng)


def test_damaged_records_are_replaced_and_counted():
  whole, _ = load()
  made = loader.make_loader(
    range(COUNT),
    Damaged({3, 7}),
    loader.LoaderConfig(BATCH, seed=3, max_damaged=6),
  )
  found = [next(made) for _ in range(STEPS)]
  made.close()
  bad = 0
  for one, other in zip(found, whole):
    for here, there in zip(one["item"], other["item"]):
      bad += int(there in (3, 7))
      assert here == there or (there in (3, 7) and here not in (3, 7))
    np.testing.assert_array_equal(one["draw"], other["draw"])
  assert made.damaged == bad > 2
  assert set(found[0]) == {"item", "draw"}


@pytest.mark.parametrize(
  ("limit", "message"),
  [(0, "^record 3 is damaged$"), (2, "3 records could not be read, more than")],
)
def test_too_many_damaged_records_end_it(limit, message):
  made = loader.make_loader(
    range(COUNT),
    Damaged({3}),
    loader.LoaderConfig(BATCH, seed=3, max_damaged=limit),
  )
  with pytest.raises(errors.DamagedRecordError, match=message):
    for _ in range(100):
      next(made)
  assert made.damaged == limit + 1
  made.close()


def test_when_all_is_damaged_no_example_is_made_up():
  made = loader.make_loader(
    range(COUNT),
    Damaged(set(range(COUNT))),
    loader.LoaderConfig(BATCH, max_damaged=1000),
  )
  with pytest.raises(errors.DamagedRecordError, match="20 records tried"):
    next(made)
  made.close()


_CLOSED = """
from more4d_jax.data import loader
from tests.data import loader_test

if __name__ == "__main__":
  made = loader.make_loader(
    range(64), loader_test.Draw(), loader.LoaderConfig(4, workers=2)
  )
  next(made)
  made.close()
  made.close()
  print(next(made, "nothing more"))
  # `made` is a global that lives until Python has taken its modules apart.
"""


@pytest.mark.slow
def test_a_closed_loader_is_silent_when_python_exits(tmp_path):
  script = tmp_path / "closed.py"
  script.write_text(_CLOSED)
  done = subprocess.run(
    [sys.executable, str(script)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.returncode, done.stdout) == (0, "nothing more\n"), done.stderr
  assert "Traceback" not in done.stderr


_FAMILY = """
import multiprocessing, sys, time
from more4d_jax.data import loader
from tests.data import loader_test

if __name__ == "__main__":
  config = loader.LoaderConfig(2, workers=2)
  made = loader.make_loader(range(1000), loader_test.number, config)
  next(made)
  print(*(child.pid for child in multiprocessing.active_children()), flush=True)
  time.sleep(600)
"""


def _alive(process):
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  status = pathlib.Path(f"/proc/{process}/stat")
  return not status.exists() or status.read_text().rsplit(")")[1][1] != "Z"


@pytest.mark.slow
def test_a_killed_process_leaves_no_workers(tmp_path):
  script = tmp_path / "family.py"
  script.write_text(_FAMILY)
  parent = subprocess.Popen(
    [sys.executable, str(script)],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )
  children = [int(word) for word in parent.stdout.readline().split()]
  assert len(children) == 2 and all(map(_alive, children))
  parent.kill()
  parent.wait()
  until = time.monotonic() + 30
  while any(map(_alive, children)) and time.monotonic() < until:
    time.sleep(0.1)
  left = list(filter(_alive, children))
  for process in left:
    os.kill(process, signal.SIGKILL)
  assert not left
