"""The loader's order against one process, and its position after a restart."""

import collections

import grain
import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import loader

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


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_one_order(count):
  expected, state = load()
  parts = [load(process_index=p, process_count=count) for p in range(count)]
  assert all(part_state == state for _, part_state in parts)
  joined = []
  for step in range(STEPS):
    batch = {name: value.copy() for name, value in expected[step].items()}
    for p, (batches, _) in enumerate(parts):
      for name, value in batches[step].items():
        batch[name][p::count] = value
    joined.append(batch)
  assert_same(joined, expected)


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
  _, state = load(steps=4, process_index=1, process_count=2)
  parts = [
    load(steps=5, state=state, process_index=p, process_count=3)[0]
    for p in range(3)
  ]
  for step in range(5):
    for p in range(3):
      for name, value in parts[p][step].items():
        np.testing.assert_array_equal(value, expected[4 + step][name][p::3])


def test_set_state_works_in_the_middle():
  made = loader.make_loader(range(COUNT), Draw(), loader.LoaderConfig(BATCH))
  first = [next(made) for _ in range(3)]
  made.set_state({"global_next_index": 0})
  assert_same([next(made) for _ in range(3)], first)
  made.close()


@pytest.mark.slow
def test_workers_give_the_same_order():
  expected, _ = load()
  found, state = load(workers=2)
  assert_same(found, expected)
  _, state = load(steps=4, workers=2)
  assert_same(load(steps=5, state=state, workers=1)[0], expected[4:])


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
    (range(8), {"global_batch": 5, "process_count": 2}, "multiple of the 2"),
    (range(8), {"global_batch": 0}, "global_batch is 0"),
    (range(8), {"global_batch": 2, "process_index": 3}, "process_index is 3"),
    (range(0), {"global_batch": 2}, "no examples"),
    (range(8), {"global_batch": 9, "num_epochs": 1}, "do not fill one batch"),
  ],
)
def test_bad_settings_are_refused(source, options, message):
  with pytest.raises(errors.UserError, match=message):
    loader.make_loader(source, number, loader.LoaderConfig(**options))


def refuse(item):
  raise errors.UserError(f"record {item} is damaged")


def test_errors_of_a_record_arrive():
  made = loader.make_loader(range(4), refuse, loader.LoaderConfig(2))
  with pytest.raises(errors.UserError, match="is damaged"):
    next(made)
  made.close()
  with pytest.raises(errors.UserError, match="record 0 is damaged"):
    next(loader.batches_in_order(range(4), refuse, 2))
