"""Kinds and numbers of devices."""

import jax
import pytest

from more4d_jax import errors
from more4d_jax.planning import devices, search


@pytest.mark.parametrize(
  ("text", "count", "words"),
  [
    ("v5p-64", 64, "slice 4x4x4, Google's name v5p-128"),
    ("v5e-16", 16, "slice 4x4, Google's name v5litepod-16"),
    ("v6e-8", 8, "slice 2x4, Google's name v6e-8"),
    ("tpu7x-4", 8, "slice 2x2x1, Google's name tpu7x-8"),
    ("v6e-1", 1, "a part of slice 2x2"),
    ("h100-8", 8, "78.0 GiB each"),
    ("h200-1", 1, "138.0 GiB each"),
  ],
)
def test_groups(text, count, words):
  group = devices.parse(text)
  assert group.count == count
  assert words in group.describe()


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("v5p", "expected one of v5e, v5p"),
    (
      "a100-8",
      "'a100-8': expected one of v5e, v5p, v6e, tpu7x, h100, h200, cpu",
    ),
    ("v5p-0", "and a number of chips"),
    ("v5p-6", "slices of 4, 8, 16, 32, 64, 128, 256, 512 chips"),
    ("h100-12", "up to 8 GPUs, or a multiple"),
  ],
)
def test_mistakes(text, message):
  with pytest.raises(errors.UserError, match=message):
    devices.parse(text)


def test_devices_of_this_process():
  group = devices.here()
  assert group.name == f"cpu-{jax.device_count()}"
  assert devices.open_devices(group) == (tuple(jax.devices()), "")
  total = group.memory * group.count
  assert total <= devices.machine_memory() < total + group.count


def test_too_many_virtual_devices():
  jax.devices()
  with pytest.raises(errors.UserError, match="device_count=4096"):
    devices.open_devices(devices.parse("cpu-4096"))


@pytest.mark.parametrize("count", [1, 6, 8, 64])
def test_meshes_are_all_factorisations(count):
  found = [tuple(vars(mesh).values()) for mesh in search.meshes(count)]
  assert len(set(found)) == len(found)
  brute = [
    (a, b, c, d)
    for a in range(1, count + 1)
    for b in range(1, count // a + 1)
    for c in range(1, count // (a * b) + 1)
    for d in range(1, count // (a * b * c) + 1)
    if a * b * c * d == count
  ]
  assert sorted(found) == sorted(brute)
