"""Records against themselves after a round trip, whole and in parts."""

import dataclasses

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.data import codec, records
from tests.data import scenes


def assert_equal(found, expected):
  for name, field in records.FIELDS.items():
    there, here = getattr(found, name), getattr(expected, name)
    if name == "video":
      assert there.shape == here.shape and there.dtype == here.dtype
      assert np.abs(there.astype(int) - here).mean() < 4  # H.264
    elif name == "views":
      assert len(there) == len(here)
      for one, other in zip(there, here):
        assert one.video.shape == other.video.shape
        np.testing.assert_array_equal(
          one.world_from_camera, other.world_from_camera
        )
    elif field.axes:
      assert there.dtype == here.dtype
      assert there.tobytes() == here.tobytes(), name
    else:
      assert there == here, name


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("views", [0, 2])
def test_round_trip(light, views):
  record = scenes.record(light=light, views=views)
  fields = records.encode(record)
  assert sorted(fields) == sorted(records.ENCODED)
  assert_equal(records.decode(fields), record)
  assert records.decode(fields).light == light


def test_same_record_same_bytes():
  first = records.encode(scenes.record(views=1))
  assert first == records.encode(scenes.record(views=1))


def test_invalid_points_survive():
  record = scenes.record()
  depth, tracks = record.depth.copy(), record.tracks.copy()
  depth[0, 0, :4] = np.nan, np.inf, 0, -1
  tracks[0, 0, :4, 2] = depth[0, 0, :4]
  tracks[1, 5, 5] = (3, 2, -1)  # Behind the camera later: valid data.
  record = dataclasses.replace(record, depth=depth, tracks=tracks)
  assert_equal(records.decode(records.encode(record)), record)


def test_only_wanted_fields_are_decoded():
  record = scenes.record()
  fields = records.encode(record)
  # The rest may be missing altogether.
  part = {name: fields[name] for name in ("header", "tracks", "video")}
  found = records.decode(part, ("tracks", "fps", "first_frame"))
  assert sorted(found) == ["first_frame", "fps", "tracks"]
  assert found["tracks"].tobytes() == record.tracks.tobytes()
  assert found["fps"] == record.fps
  np.testing.assert_array_equal(
    found["first_frame"], records.decode(fields).video[0]
  )
  with pytest.raises(ValueError, match="no record fields"):
    records.decode(fields, ("trakcs",))


def test_records_and_encoded_records_give_the_same_parts():
  record = scenes.record()
  encoded = records.EncodedRecord(records.encode(record))
  for name in ("caption", "tracks", "visible", "intrinsics", "tracks_frame"):
    here, there = record.decode((name,)), encoded.decode((name,))
    np.testing.assert_array_equal(here[name], there[name])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"tracks": np.zeros((5, 12, 17, 3))}, "tracks is float64"),
    ({"visible": np.zeros((5, 12, 16), bool)}, "visible is bool"),
    ({"video": np.zeros((2, 12, 17, 3), np.uint8)}, "video has 2 frames"),
    ({"tracks_frame": "camera"}, "tracks_frame is 'camera'"),
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
  fields = records.encode(scenes.record(views=1))
  blob = bytearray(fields[name])
  blob[len(blob) // 2] ^= 0x40
  damaged = records.EncodedRecord({**fields, name: bytes(blob)}, "record 7")
  with pytest.raises(errors.UserError, match="record 7 is damaged") as caught:
    damaged.decode()
  assert name in str(caught.value)
  assert "\n" not in str(caught.value)
  with pytest.raises(codec.DamagedError, match=name):
    records.verify(damaged.fields)
  del damaged.fields[name]
  with pytest.raises(codec.DamagedError, match=name):
    records.decode(damaged.fields)


def test_another_schema_version_is_refused():
  fields = records.encode(scenes.record())
  header = fields["header"].replace(
    b'"schema_version": 1', b'"schema_version": 99'
  )
  with pytest.raises(codec.DamagedError, match="schema version 99"):
    records.decode({**fields, "header": header})
