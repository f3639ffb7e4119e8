"""Captions against the motion, the oracle, and what must not be told."""

import numpy as np
import pytest

from data_pipelines.procedural import records, scenes


def _light(seed, kind="motion", motion_seed=None):
  options = records.RecordOptions(light=True, kind=kind)
  return records.make_record(seed, options, motion_seed)


def _columns(record, frame):
  points = record.tracks[frame][record.segmentation > 0]
  return points[:, 0] / points[:, 2] * record.intrinsics[0]


def test_captions_of_motion_scenes_name_direction_and_speed():
  shifts = {"slowly": [], "quickly": []}
  for seed in range(100, 140):
    record = _light(seed)
    words = record.caption.split()
    assert ("left" in words) != ("right" in words)
    assert ("slowly" in words) != ("quickly" in words)
    shift = (_columns(record, -1) - _columns(record, 0)).mean()
    assert np.sign(shift) == (1 if "right" in words else -1)
    shifts["slowly" if "slowly" in words else "quickly"].append(abs(shift))
    assert 0.07 < (record.segmentation > 0).mean() < 0.25
    assert record.segmentation.max() == 1
    assert (record.world_from_camera == np.eye(4)).all()
  # Visible in nine frames of 64 columns, and the words are well apart.
  assert min(shifts["slowly"]) > 5
  assert max(shifts["slowly"]) < min(shifts["quickly"])


def test_walkers_go_where_the_caption_says():
  checked = 0
  for seed in range(30):
    record = _light(seed, "walker")
    words = record.caption.split()
    shift = (_columns(record, -1) - _columns(record, 0)).mean()
    if "left" in words or "right" in words:
      assert np.sign(shift) == (1 if "right" in words else -1)
      checked += 1
  assert checked > 8


def test_the_oracle_shares_picture_and_caption_but_not_the_motion():
  for kind in scenes.KINDS:
    for seed in range(3):
      first, second = _light(seed, kind), _light(seed, kind, seed + 1000)
      assert first.caption == second.caption
      np.testing.assert_array_equal(first.video, second.video)
      np.testing.assert_array_equal(first.depth, second.depth)
      np.testing.assert_array_equal(first.segmentation, second.segmentation)
      np.testing.assert_array_equal(
        first.world_from_camera, second.world_from_camera
      )
      assert (first.tracks != second.tracks).any()


def test_the_oracle_of_motion_scenes_is_far_better_than_standing_still():
  miss, still = 0.0, 0.0
  for seed in range(200, 212):
    first, second = _light(seed), _light(seed, motion_seed=seed + 1000)
    mine = first.segmentation > 0
    truth, guess = first.tracks[1:, mine], second.tracks[1:, mine]
    miss += np.linalg.norm(guess - truth, axis=-1).mean()
    still += np.linalg.norm(truth - first.tracks[:1, mine], axis=-1).mean()
  assert miss < 0.2 * still


def test_direction_is_balanced_and_independent_of_what_is_seen():
  rows = []
  for seed in range(300, 500):
    options = scenes.SceneOptions(2, 12, 16, "motion")
    scene = scenes.make_scene(seed, options)
    body = next(p for p in scene.world.items if p.object_number)
    colour = body.materials[0].colours[0]
    others = [p for p in scene.world.items[1:] if not p.object_number]
    side = sum(np.sign(p.translation[0, 0]) for p in others)
    rows.append(
      [
        "left" in scene.caption,
        *colour,
        body.translation[0, 0],
        body.size[0],
        len(others),
        side,
        "quickly" in scene.caption,
      ]
    )
  table = np.array(rows, np.float64)
  assert 0.38 < table[:, 0].mean() < 0.62
  correlation = np.corrcoef(table.T)[0, 1:]
  # Four standard deviations of the correlation of 200 independent pairs.
  assert np.abs(correlation).max() < 4 / np.sqrt(200)


def test_the_mixture_is_half_motion_scenes_with_many_wordings():
  options = scenes.SceneOptions(2, 12, 16, "all")
  made = [scenes.make_scene(seed, options) for seed in range(300)]
  share = np.mean([s.kind == "motion" for s in made])
  assert 0.4 < share < 0.6
  assert {s.kind for s in made} == set(scenes.KINDS)
  assert len({s.caption for s in made}) > 250
  assert max(len(s.caption) for s in made) <= scenes.LONGEST_CAPTION
  moving = np.mean([not s.camera.is_static for s in made])
  assert 0.1 < moving < 0.35


def test_more_frames_sample_the_same_motion():
  few = scenes.make_scene(7, scenes.SceneOptions(5, 24, 32, "walker"))
  many = scenes.make_scene(7, scenes.SceneOptions(9, 24, 32, "walker"))
  for a, b in zip(few.world.items, many.world.items, strict=True):
    np.testing.assert_allclose(a.translation, b.translation[::2], atol=1e-12)


def test_an_unknown_kind_is_named():
  with pytest.raises(ValueError, match="'waves'"):
    scenes.make_scene(0, scenes.SceneOptions(kind="waves"))
  with pytest.raises(ValueError, match="seed"):
    scenes.make_scene(-1, scenes.SceneOptions())
  with pytest.raises(ValueError, match="at least one frame"):
    scenes.make_scene(0, scenes.SceneOptions(frames=0))
