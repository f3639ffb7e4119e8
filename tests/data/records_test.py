"""Records against themselves after a round trip, whole and in parts."""

import dataclasses

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import records
from more4d_jax.data.codec import array_codec, depth_codec, track_codec
from tests.data import scenes

EXACT = records.EncodeOptions(tracks_tolerance=None, depth_tolerance=None)
POINTS = scenes.record(sparse=True).points


def assert_equal(found, expected, bound=5e-4):
  """Equal fields; tracks and depth within the bound, or to the bit."""
  for name, field in records.FIELDS.items():
    there, here = getattr(found, name), getattr(expected, name)
    if name == "points" or (expected.sparse and name in ("tracks", "visible")):
      assert_same_points(there, here)
    elif name == "video":
      assert there.shape == here.shape and there.dtype == here.dtype
      assert np.abs(there.astype(int) - here).mean() < 4  # H.264
    elif name in ("views", "renderings"):
      assert len(there) == len(here)
      for one, other in zip(there, here):
        assert np.abs(one.video.astype(int) - other.video).max() < 4
        np.testing.assert_array_equal(
          one.world_from_camera, other.world_from_camera
        )
        if name == "renderings":
          np.testing.assert_array_equal(one.coverage, other.coverage)
    elif name == "tracks" and bound:
      assert there.dtype == np.float32 and there.shape == here.shape
      error = np.abs(there - here).max(axis=(0, 3))
      valid = track_codec.valid_points(here)
      assert (error[valid] <= bound * here[0, :, :, 2][valid]).all()
      assert np.isnan(there[:, ~valid]).all()
    elif name == "depth" and bound:
      known = depth_codec.known_depth(here)
      assert there.dtype == np.float32 and there.shape == here.shape
      assert (np.abs(there[known] / here[known] - 1) <= bound).all()
      assert np.isnan(there[~known]).all()
    elif field.axes:
      assert there.dtype == here.dtype
      assert there.tobytes() == here.tobytes(), name
    else:
      assert there == here, name


def assert_same_points(found, expected):
  assert (found is None) == (expected is None)
  if expected is None:
    return
  for name in ("pixels", "query_frames", "visible"):
    there, here = getattr(found, name), getattr(expected, name)
    assert there.dtype == here.dtype and there.tobytes() == here.tobytes(), name
  error = np.abs(found.tracks - expected.tracks).max(axis=(0, 2))
  assert (error <= 5e-4 * expected.tracks[0, :, 2]).all()


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize(
  "parts", [{}, {"views": 2, "renderings": 1}, {"sparse": True}]
)
def test_round_trip(light, parts):
  record = scenes.record(light=light, **parts)
  fields = records.encode(record)
  assert sorted(fields) == sorted(records.ENCODED)
  assert_equal(records.decode(fields), record)
  assert records.decode(fields).light == light


def test_same_record_same_bytes():
  first = records.encode(scenes.record(views=1))
  assert first == records.encode(scenes.record(views=1))


def test_a_video_that_lost_a_frame_is_noticed(monkeypatch):
  whole = array_codec.encode_video
  monkeypatch.setattr(
    array_codec, "encode_video", lambda video, *rest: whole(video[:-1], *rest)
  )
  fields = records.encode(scenes.record())
  with pytest.raises(
    array_codec.DamagedError, match="4 frames, the header says 5"
  ):
    records.decode(fields, ("video",))


def test_invalid_points_survive():
  record = scenes.record()
  depth, tracks = record.depth.copy(), record.tracks.copy()
  depth[0, 0, :4] = np.nan, np.inf, 0, -1
  tracks[0, 0, :4, 2] = depth[0, 0, :4]
  tracks[1, 5, 5] = (3, 2, -1)  # Behind the camera later: valid data.
  record = dataclasses.replace(record, depth=depth, tracks=tracks)
  assert_equal(records.decode(records.encode(record)), record)
  assert_equal(records.decode(records.encode(record, EXACT)), record, bound=0)


def test_only_wanted_fields_are_decoded():
  record = scenes.record()
  fields = records.encode(record)
  # The rest may be missing altogether.
  part = {name: fields[name] for name in ("header", "tracks", "video")}
  found = records.decode(part, ("tracks", "fps", "first_frame"))
  assert sorted(found) == ["first_frame", "fps", "tracks"]
  error = np.abs(found["tracks"] - record.tracks).max(axis=-1)
  assert (error <= 5e-4 * record.tracks[0, :, :, 2]).all()
  assert found["fps"] == record.fps
  np.testing.assert_array_equal(
    found["first_frame"], records.decode(fields).video[0]
  )
  with pytest.raises(ValueError, match="no record fields"):
    records.decode(fields, ("trakcs",))


def test_records_and_encoded_records_give_the_same_parts():
  record = scenes.record()
  encoded = records.EncodedRecord(records.encode(record, EXACT))
  assert encoded.shape == record.shape
  for name in ("caption", "tracks", "visible", "intrinsics", "tracks_frame"):
    here, there = record.decode((name,)), encoded.decode((name,))
    np.testing.assert_array_equal(here[name], there[name])
  names = ("tracks", "first_depth", "visible")
  here, there = (item.decode(names, [0, 3]) for item in (record, encoded))
  assert here["tracks"].shape[0] == 2 and here["visible"].shape[0] == 5
  for name in names:
    np.testing.assert_array_equal(here[name], there[name])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"tracks": np.zeros((5, 12, 17, 3))}, "tracks is float64"),
    ({"visible": np.zeros((5, 12, 16), bool)}, "visible is bool"),
    ({"video": np.zeros((2, 12, 17, 3), np.uint8)}, "video has 2 frames"),
    ({"tracks_frame": "camera"}, "tracks_frame is 'camera'"),
    ({"cameras": "maybe"}, "cameras is 'maybe'"),
    ({"tracks": None}, "expected tracks and visible, or points, found visible"),
    ({"points": POINTS}, "found tracks, visible, points"),
    ({"tracks": None, "visible": None}, "found none"),
    (
      {
        "tracks": None,
        "visible": None,
        "points": dataclasses.replace(
          POINTS, query_frames=POINTS.query_frames + 5
        ),
      },
      "query_frames are 5 to 5; expected 0 to 4",
    ),
  ],
)
def test_what_breaks_the_schema_is_refused(change, message):
  record = scenes.record()
  for name, value in change.items():  # Past the annotations of the class.
    object.__setattr__(record, name, value)
  with pytest.raises(ValueError, match=message):
    records.encode(record)


@pytest.mark.parametrize("name", records.ENCODED)
def test_damage_names_the_field_and_the_place(name):
  record = scenes.record(views=1, renderings=1, sparse=name == "points")
  fields = records.encode(record)
  blob = bytearray(fields[name])
  blob[len(blob) // 2] ^= 0x40
  damaged = records.EncodedRecord({**fields, name: bytes(blob)}, "record 7")
  with pytest.raises(errors.UserError, match="record 7 is damaged") as caught:
    damaged.decode()
  assert name in str(caught.value)
  assert "\n" not in str(caught.value)
  with pytest.raises(array_codec.DamagedError, match=name):
    records.verify(damaged.fields)
  del damaged.fields[name]
  with pytest.raises(array_codec.DamagedError, match=name):
    records.decode(damaged.fields)


@pytest.mark.parametrize("version", [1, 99])
def test_another_schema_version_is_refused(version):
  fields = records.encode(scenes.record())
  header = fields["header"].replace(
    b'"schema_version": 2', b'"schema_version": %d' % version
  )
  with pytest.raises(
    array_codec.DamagedError, match=f"schema version {version}"
  ):
    records.decode({**fields, "header": header})
  there = records.EncodedRecord({**fields, "header": header}, "record 7 (file)")
  with pytest.raises(errors.UserError) as caught:
    there.decode(("caption",))
  assert str(caught.value) == (
    f"record 7 (file) has schema version {version}, this program reads 2; "
    f"make or import these records again"
  )


def test_planes_are_those_of_the_tracks():
  item = records.EncodedRecord(records.encode(scenes.record()))
  np.testing.assert_array_equal(
    item.track_planes().tracks(), item.decode(("tracks",))["tracks"]
  )
  sparse = records.EncodedRecord(records.encode(scenes.record(sparse=True)))
  with pytest.raises(errors.UserError, match="record is sparse"):
    sparse.track_planes()


def test_the_shape_needs_no_tracks():
  for record in (scenes.record(), scenes.record(light=True, sparse=True)):
    assert record.shape == (5, 12, 17)
  assert scenes.record(sparse=True).sparse and not scenes.record().sparse


def test_filmed_videos_are_smaller():
  video = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8)
  record = dataclasses.replace(scenes.record(height=64, width=64), video=video)
  fine, halved = (
    len(records.encode(record, options)["video"])
    for options in (records.PROCEDURAL, records.REAL)
  )
  assert halved < 0.8 * fine
  odd = scenes.record()  # 4:2:0 cannot hold 17 columns.
  found = records.decode(records.encode(odd, records.REAL), ("video",))
  assert found["video"].shape == odd.video.shape
