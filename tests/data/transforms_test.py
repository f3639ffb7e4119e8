"""Examples against the records they come from."""

import dataclasses

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import loader, records, schema, transforms
from tests.data import scenes

EXACT = records.EncodeOptions(tracks_tolerance=None, depth_tolerance=None)


def encoded(**options):
  record = scenes.record(frames=9, **options)
  return record, records.EncodedRecord(records.encode(record, EXACT))


def test_without_options_the_record_comes_unchanged():
  record, item = encoded(views=1)
  motion = transforms.motion_example(item)
  np.testing.assert_array_equal(motion["tracks"], record.tracks)
  np.testing.assert_array_equal(motion["intrinsics"], record.intrinsics)
  video = transforms.video_example(item)
  np.testing.assert_array_equal(video["depth"], record.depth)
  np.testing.assert_array_equal(video["video"], item.decode().video)
  depth = transforms.depth_example(item)
  np.testing.assert_array_equal(depth["image"], video["video"][0])
  np.testing.assert_array_equal(depth["depth"], record.depth[0])
  scene = transforms.view_example(item)
  np.testing.assert_array_equal(scene["tracks"], record.tracks)
  np.testing.assert_array_equal(scene["visible"], record.visible)
  np.testing.assert_array_equal(scene["segmentation"], record.segmentation)
  np.testing.assert_array_equal(
    scene["target_video"], item.decode().views[0].video
  )
  assert scene["caption"] == record.caption


def test_records_in_memory_are_items_too():
  record, item = encoded()
  here, there = (transforms.motion_example(one) for one in (record, item))
  np.testing.assert_array_equal(here["tracks"], there["tracks"])


def test_a_clip_of_tracks_starts_with_its_pixels():
  record, item = encoded()
  options = transforms.ExampleOptions(frames=5, stride=2, random_clip=True)
  for seed in range(5):
    rng = np.random.default_rng(seed)
    found = transforms.motion_example(item, options, rng)
    np.testing.assert_array_equal(found["tracks"], record.tracks[::2])


def test_a_clip_of_video_is_in_step_with_its_depth():
  record, item = encoded()
  options = transforms.ExampleOptions(frames=5, random_clip=True)
  video, starts = item.decode().video, set()
  for seed in range(20):
    rng = np.random.default_rng(seed)
    found = transforms.video_example(item, options, rng)
    start = next(
      s for s in range(5) if (video[s : s + 5] == found["video"]).all()
    )
    np.testing.assert_array_equal(
      found["depth"], record.depth[start : start + 5]
    )
    starts.add(start)
  assert starts == {0, 1, 2, 3, 4}


def test_light_records_are_refused_where_a_film_is_needed():
  _, item = encoded(light=True)
  with pytest.raises(errors.UserError, match="record is light"):
    transforms.video_example(item)
  with pytest.raises(errors.UserError, match="has no views"):
    transforms.view_example(item)
  assert transforms.depth_example(item)["image"].shape == (12, 17, 3)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"frames": 8}, r"expected 4k \+ 1"),
    ({"frames": 13}, "needs 13 frames, the records have 9"),
    ({"frames": 5, "stride": 3}, "needs 13 frames"),
  ],
)
def test_impossible_clips_are_refused(options, message):
  _, item = encoded()
  with pytest.raises(errors.UserError, match=message):
    transforms.motion_example(item, transforms.ExampleOptions(**options))


def test_the_mirror_image_has_the_mirrored_caption():
  record, item = encoded(views=1)
  options = transforms.ExampleOptions(mirror_rate=1.0)
  found = transforms.view_example(item, options, np.random.default_rng(0))
  assert found["caption"] == record.caption.replace("right", "left")
  straight = transforms.view_example(item)
  for name in ("image", "depth", "segmentation"):
    np.testing.assert_array_equal(found[name], straight[name][:, ::-1])
  mirrored = straight["tracks"][:, :, ::-1] * np.float32([-1, 1, 1])
  np.testing.assert_array_equal(found["tracks"], mirrored)


@pytest.mark.parametrize(
  ("caption", "expected"),
  [
    ("a ball rolls left", "a ball rolls right"),
    ("Left of it, leftward; right-hand", "Right of it, rightward; left-hand"),
    ("it turns clockwise", "it turns counterclockwise"),
    ("bright leftover copyright", "bright leftover copyright"),
    ("", ""),
  ],
)
def test_captions_are_mirrored(caption, expected):
  assert transforms.flip_caption(caption) == expected
  assert transforms.flip_caption(expected) == caption


def test_captions_are_dropped_at_the_rate_asked_for():
  item = scenes.record()
  options = transforms.ExampleOptions(caption_dropout=0.25)
  dropped = sum(
    not transforms.scene_example(item, options, np.random.default_rng(i))[
      "caption"
    ]
    for i in range(200)
  )
  assert 30 <= dropped <= 70  # 50 expected, standard deviation 6.


def test_examples_go_through_the_loader():
  items = [scenes.record(seed, frames=9) for seed in range(6)]
  options = transforms.ExampleOptions(
    frames=5, height=10, width=10, mirror_rate=0.5, random_crop=True
  )
  transform = transforms.RandomExample(transforms.scene_example, options)
  made = loader.make_loader(items, transform, loader.LoaderConfig(4))
  batch = next(made)
  made.close()
  assert batch["tracks"].shape == (4, 5, 10, 10, 3)
  assert batch["image"].shape == (4, 10, 10, 3)
  assert len(batch["caption"]) == 4


@pytest.mark.parametrize(
  "function",
  [
    transforms.motion_example,
    transforms.scene_example,
    transforms.view_example,
  ],
)
def test_sparse_records_are_refused_where_tracks_are_needed(function):
  record = scenes.record(sparse=True)
  item = records.EncodedRecord(records.encode(record), "record 3 (file)")
  with pytest.raises(errors.UserError, match=r"record 3 \(file\) is sparse"):
    function(item)
  found = transforms.video_example(item)
  assert found["video"].shape == (5, 12, 17, 3)
  assert transforms.depth_example(item)["depth"].shape == (12, 17)


def test_an_unknown_segmentation_is_what_moves():
  record = scenes.record()
  unknown = np.full_like(record.segmentation, schema.UNKNOWN_SEGMENT)
  found = transforms.scene_example(
    dataclasses.replace(record, segmentation=unknown)
  )
  np.testing.assert_array_equal(found["segmentation"], record.segmentation)
