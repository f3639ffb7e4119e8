"""Records: schema, light against full, views, the same bytes everywhere."""

import dataclasses
import hashlib
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines.procedural import records, scenes
from more4d_jax.data import records as schema

_OPTIONS = records.RecordOptions(frames=5, height=32, width=48)
_PROGRAM = """
import sys
from tests.data_pipelines.procedural import records_test
print(records_test.digest(int(sys.argv[1]), sys.argv[2]))
"""


def digest(seed: int, kind: str) -> str:
  """Returns a hash of every byte of a full record."""
  record = records.make_record(seed, dataclasses.replace(_OPTIONS, kind=kind))
  whole = hashlib.sha256(record.caption.encode())
  for field in dataclasses.fields(record):
    value = getattr(record, field.name)
    if isinstance(value, np.ndarray):
      whole.update(value.tobytes())
  for view in record.views:
    whole.update(view.video.tobytes() + view.world_from_camera.tobytes())
  return whole.hexdigest()


@pytest.mark.parametrize("kind", tuple(scenes.KINDS))
def test_records_follow_the_schema(kind):
  full = records.make_record(3, dataclasses.replace(_OPTIONS, kind=kind))
  schema.check(full)
  assert len(full.views) == 1
  assert np.isfinite(full.depth).all()
  assert (full.depth > 0).all()
  assert (full.world_from_camera[0] == np.eye(4)).all()
  assert full.caption
  assert 1 <= full.segmentation.max() <= 3
  fx, fy = full.intrinsics[:2]
  degrees = np.degrees(2 * np.arctan(0.5 * 32 * 4 / 3 / fx))
  assert fx == fy
  assert 45 <= degrees <= 70


def test_light_records_agree_with_full_ones():
  for seed in range(6):
    full = records.make_record(seed, _OPTIONS)
    light = records.make_record(seed, dataclasses.replace(_OPTIONS, light=True))
    schema.check(light)
    assert light.light
    assert light.views == ()
    np.testing.assert_array_equal(light.video, full.video[:1])
    np.testing.assert_array_equal(light.depth, full.depth[:1])
    for name in ("tracks", "visible", "segmentation", "intrinsics"):
      np.testing.assert_array_equal(getattr(light, name), getattr(full, name))
    assert light.caption == full.caption


def test_a_view_starts_at_the_first_picture_and_then_leaves_it():
  for seed in range(6):
    record = records.make_record(seed, _OPTIONS)
    view = record.views[0]
    first = np.abs(view.video[0].astype(int) - record.video[0])
    assert np.mean(first > 1) < 1e-3
    assert np.abs(view.world_from_camera[0] - np.eye(4)).max() < 1e-6
    assert np.abs(view.world_from_camera[-1] - np.eye(4)).max() > 0.02
    turn = view.world_from_camera[:, :3, :3]
    np.testing.assert_allclose(
      turn @ np.swapaxes(turn, 1, 2), np.tile(np.eye(3), (5, 1, 1)), atol=1e-6
    )


def test_a_view_shows_the_tracked_points_where_they_are():
  """Colours of tracked, unhidden points are found in the other film."""
  record = records.make_record(8, dataclasses.replace(_OPTIONS, kind="motion"))
  view, frame = record.views[0], 2
  pose = view.world_from_camera[frame]
  points = (record.tracks[frame] - pose[:3, 3]) @ pose[:3, :3]
  fx, fy, cx, cy = record.intrinsics
  col = np.floor(points[..., 0] / points[..., 2] * fx + cx).astype(int)
  row = np.floor(points[..., 1] / points[..., 2] * fy + cy).astype(int)
  inside = (col >= 0) & (col < 48) & (row >= 0) & (row < 32)
  inside &= record.visible[frame]
  there = view.video[frame][row[inside], col[inside]].astype(int)
  here = record.video[0][inside].astype(int)
  assert inside.mean() > 0.6
  assert np.median(np.abs(there - here)) < 6
  shuffled = np.random.default_rng(0).permutation(here)
  assert np.abs(there - here).mean() < 0.4 * np.abs(there - shuffled).mean()


@pytest.mark.parametrize(("seed", "kind"), [(0, "all"), (5, "flag")])
def test_another_process_makes_the_same_bytes(seed, kind):
  result = subprocess.run(
    [sys.executable, "-c", _PROGRAM, str(seed), kind],
    capture_output=True,
    text=True,
    check=True,
    timeout=100,
  )
  assert result.stdout.strip() == digest(seed, kind)


def test_another_seed_makes_another_record():
  assert digest(0, "motion") != digest(1, "motion")
