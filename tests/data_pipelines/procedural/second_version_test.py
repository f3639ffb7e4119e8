"""Scenes of version 2: captions, oracles, visibility; version 1 as it was."""

import dataclasses
import itertools
import json
import pathlib

import numpy as np
import pytest

from data_pipelines.procedural import catalogue, records, scenes, splits
from data_pipelines.procedural.rendering import shading, tracking
from more4d_jax.data import records as schema
from tests.data_pipelines.procedural import records_test

# Those that need nothing else; what MuJoCo moves is in `physics_test`.
_NEW = sorted(set(catalogue.SECOND.mixture) - set(catalogue.FIRST.kinds))
_FIRST_VERSION = pathlib.Path(__file__).parent / "first_version.json"


def _light(seed, kind, motion_seed=None):
  options = records.RecordOptions(light=True, kind=kind, version=2)
  return records.make_record(seed, options, motion_seed)


def _shift(record):
  """Mean way of the moving points in the picture, (x, y) in pixels."""
  mine = record.segmentation > 0
  assert (record.world_from_camera[-1] == np.eye(4)).all()
  ends = record.tracks[[0, -1]][:, mine]
  ends = ends[..., :2] / ends[..., 2:] * record.intrinsics[:2]
  return (ends[1] - ends[0]).mean(axis=0)


def _still_camera(kind, count):
  """Records of a kind whose camera stands still."""
  seed, found = 0, []
  while len(found) < count:
    options = scenes.SceneOptions(2, 12, 16, kind, 2)
    if scenes.make_scene(seed, options).camera.is_static:
      found.append(_light(seed, kind))
    seed += 1
  return found


@pytest.mark.parametrize(
  "kind", ["wheel", "cart", "bird", "animal", "person", "fall", "motion"]
)
def test_things_go_to_the_side_that_the_caption_names(kind):
  told = set()
  for record in _still_camera(kind, 14):
    words = set(record.caption.split()) & {"left", "right"}
    if words:
      (side,) = words
      assert np.sign(_shift(record)[0]) == (1 if side == "right" else -1)
      told.add(side)
  assert told == {"left", "right"}


@pytest.mark.parametrize("kind", ["wheel", "cart", "bird"])
def test_quick_things_go_farther_than_slow_ones(kind):
  ways = {"slowly": [], "quickly": []}
  for record in _still_camera(kind, 12):
    pace = "quickly" if "quickly" in record.caption else "slowly"
    ways[pace].append(abs(_shift(record)[0]))
  assert min(ways["quickly"]) > 1.3 * max(ways["slowly"])


def test_wheels_turn_the_way_that_the_caption_names():
  """Clockwise as the camera sees it: from the right downwards."""
  told = set()
  for record in _still_camera("spinner", 8):
    mine = record.segmentation > 0
    points = record.tracks[:, mine]
    pixels = points[..., :2] / points[..., 2:]
    middle = pixels[0].mean(axis=0)
    arm = pixels[0] - middle
    way = pixels[1] - pixels[0]
    turn = (arm[:, 0] * way[:, 1] - arm[:, 1] * way[:, 0]).sum()
    sense = (
      "anticlockwise" if "anticlockwise" in record.caption else "clockwise"
    )
    assert np.sign(turn) == (1 if sense == "clockwise" else -1)
    told.add(sense)
  assert len(told) == 2


@pytest.mark.parametrize(
  ("kind", "more", "less"),
  [
    ("jelly", ("grow", "swell", "larger"), ("shrink", "smaller")),
    ("door", ("close", "shut"), ("open",)),
  ],
)
def test_what_grows_covers_more_of_the_picture_and_an_open_door_less(
  kind, more, less
):
  told = set()
  for seed in range(60):
    options = scenes.SceneOptions(5, 36, 48, kind, 2)
    scene = scenes.make_scene(seed, options)
    growing = any(word in scene.caption for word in more)
    shrinking = any(word in scene.caption for word in less)
    if not scene.camera.is_static or growing == shrinking:
      continue
    if kind == "door" and "quickly" not in scene.caption:
      continue  # Little of a door that stands nearly along the view is seen.
    renderer = shading.Renderer(scene.world, scene.camera)
    moving = np.array([p.object_number > 0 for p in scene.world.items])
    first, last = (moving[renderer.hits(t).number].sum() for t in (0, 4))
    told.add(growing)
    assert (last > first) == growing, scene.caption
  assert told == {True, False}


@pytest.mark.parametrize("kind", _NEW)
def test_the_oracle_shares_picture_and_caption_but_not_the_motion(kind):
  for seed in range(2):
    first, second = _light(seed, kind), _light(seed, kind, seed + 1000)
    assert first.caption == second.caption
    np.testing.assert_array_equal(first.segmentation, second.segmentation)
    # Feet on the ground are placed by sums that round differently.
    np.testing.assert_allclose(first.depth, second.depth, atol=1e-6)
    np.testing.assert_allclose(first.video.astype(int), second.video, atol=1)
    assert np.abs(first.tracks - second.tracks).max() > 1e-3


@pytest.mark.parametrize("kind", _NEW)
def test_tracks_start_at_their_pixels_and_are_seen_where_they_are_drawn(kind):
  """Against a picture of eight times the size."""
  scale, wrong, total = 8, 0, 0
  for seed in (1, 4):
    scene = scenes.make_scene(seed, scenes.SceneOptions(3, 36, 48, kind, 2))
    camera = scene.camera
    renderer = shading.Renderer(scene.world, camera)
    hits = renderer.hits(0)
    tracks, visible = tracking.track(renderer, hits.depth, hits.number)
    fx, fy, cx, cy = camera.intrinsics
    first = tracks[0].astype(np.float32)
    rows, columns = np.mgrid[:36, :48] + 0.5
    np.testing.assert_allclose(
      first[..., 0] / first[..., 2] * fx + cx, columns, atol=1e-3
    )
    np.testing.assert_allclose(
      first[..., 1] / first[..., 2] * fy + cy, rows, atol=1e-3
    )
    fine = dataclasses.replace(
      camera,
      intrinsics=camera.intrinsics * scale,
      height=36 * scale,
      width=48 * scale,
    )
    depth = shading.Renderer(scene.world, fine).hits(2).depth
    pose = scene.first_from_stage() @ camera.stage_from_camera[2]
    x, y, z = np.moveaxis((tracks[2] - pose[:3, 3]) @ pose[:3, :3], -1, 0)
    column = np.floor((x / z * fx + cx) * scale).astype(int)
    row = np.floor((y / z * fy + cy) * scale).astype(int)
    inside = (z > 0) & (column >= 0) & (column < 48 * scale)
    inside &= (row >= 0) & (row < 36 * scale)
    assert not visible[2][~inside].any()
    ratio = depth[row[inside], column[inside]] / z[inside]
    # Between these, it may be slanted ground or the other side of a wing.
    sure = (ratio > 0.995) | (ratio < 0.975)
    wrong += (sure & ((ratio > 0.99) != visible[2][inside])).sum()
    total += inside.sum()
  # Outlines within a fine pixel.
  assert wrong / total < 0.01


def test_captions_have_many_wordings_and_a_longest_length():
  options = scenes.SceneOptions(2, 12, 16, "all", 2)
  made = [scenes.make_scene(seed, options) for seed in range(400)]
  assert len({scene.caption for scene in made}) > 390
  assert max(len(s.caption) for s in made) <= scenes.LONGEST_CAPTION
  assert {s.kind for s in made} == set(catalogue.SECOND.mixture)
  first_words = {" ".join(s.caption.split()[:2]) for s in made}
  assert len(first_words) > 25
  assert sum("light" in s.caption for s in made) > 10
  for scene in made:  # "a orange" and doubled spaces are no English.
    words = scene.caption.split(" ")
    assert all(words), scene.caption
    for word, after in itertools.pairwise(words):
      if word in ("a", "an"):
        assert (word == "an") == (after[0] in "aeiou"), scene.caption


def test_lights_differ_as_their_names_say():
  options = scenes.SceneOptions(2, 24, 32, "wheel", 2)
  levels = {"dim": [], "": []}
  for seed in range(60):
    scene = scenes.make_scene(seed, options)
    key = "dim" if "dim bluish" in scene.caption else ""
    picture, _ = shading.Renderer(scene.world, scene.camera).frame(0)
    levels[key].append(picture.mean())
  assert levels["dim"] and max(levels["dim"]) < np.median(levels[""])


@pytest.mark.parametrize("kind", ["person", "blob", "plant"])
def test_other_cameras_film_the_same_scene(kind):
  options = records.RecordOptions(3, 24, 32, kind=kind, views=2, version=2)
  record = records.make_record(5, options)
  schema.schema.check(record)
  assert len(record.views) == 2 and record.source.startswith("procedural 2, ")
  for view in record.views:
    first = np.abs(view.video[0].astype(int) - record.video[0])
    assert np.mean(first > 1) < 1e-2  # Rounding of poses at outlines.
  assert (record.views[0].video[-1] != record.views[1].video[-1]).any()


def test_the_same_seed_gives_the_same_bytes():
  for kind in ("person", "plant", "blob"):
    options = records.RecordOptions(3, 24, 32, kind=kind, version=2)
    first, second = (
      schema.encode(records.make_record(7, options)) for _ in range(2)
    )
    assert first == second
    other = schema.encode(records.make_record(8, options))
    assert other["video"] != first["video"]


def test_scenes_of_version_1_stay_what_they_were():
  """Its seeds are named by trainings and evaluations."""
  stored = json.loads(_FIRST_VERSION.read_text())
  for entry in stored:
    options = records.RecordOptions(5, 24, 32, light=True, kind=entry["kind"])
    record = records.make_record(entry["seed"], options)
    assert record.caption == entry["caption"]
    corners = record.tracks[-1, 4::8, 4::8]
    # Another processor rounds matrix products differently.
    np.testing.assert_allclose(corners, entry["tracks"], atol=1e-4)
    mean = record.video[0].mean(axis=(0, 1))
    np.testing.assert_allclose(mean, entry["mean_colour"], atol=0.05)
  split = splits.SPLITS["motion64"]
  assert (split.start, split.size, split.kind) == (10_000_000, 64, "motion")
  assert splits.SPLITS["unseen_chain"].start == 20_050_000
  assert records_test.digest(3, "walker") != records_test.digest(4, "walker")


def test_unknown_versions_and_kinds_are_named():
  with pytest.raises(ValueError, match="version"):
    scenes.make_scene(0, scenes.SceneOptions(version=4))
  with pytest.raises(ValueError, match="'door'"):
    scenes.make_scene(0, scenes.SceneOptions(kind="door", version=1))
