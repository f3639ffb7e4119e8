"""Codings against the arrays they were made from, to the bit."""

from concurrent import futures

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from more4d_jax.data.codec import array_codec
from tests.data import scenes


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
  arrays.arrays(
    np.uint32,
    strategies.tuples(*[strategies.integers(1, 5)] * 3, strategies.just(3)),
  )
)
def test_any_bit_pattern_survives(bits):
  # Every float32, with infinities and each kind of NaN.
  found = array_codec.decode_array(
    array_codec.encode_floats(bits.view(np.float32))
  )
  np.testing.assert_array_equal(found.view(np.uint32), bits)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 7), (3, 1, 1), (4, 5, 6)])
def test_depth_maps_survive(shape):
  depth = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  depth.flat[0] = np.nan
  found = array_codec.decode_array(array_codec.encode_floats(depth))
  assert found.tobytes() == depth.tobytes()
  assert found.dtype == np.float32 and found.shape == shape


def test_points_that_do_not_move_cost_nothing():
  first = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
  one = len(array_codec.encode_floats(first))
  many = len(array_codec.encode_floats(np.repeat(first, 33, axis=0)))
  assert many < one + 100


def test_a_teleporting_point_survives():
  tracks = scenes.record().tracks.copy()
  tracks[2, 3, 3] = (1e30, -1e-30, np.inf)
  tracks[3, 3, 3] = -0.0
  found = array_codec.decode_array(array_codec.encode_floats(tracks))
  assert found.tobytes() == tracks.tobytes()


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(arrays.arrays(bool, arrays.array_shapes(min_dims=1)))
def test_masks_survive(mask):
  found = array_codec.decode_array(array_codec.encode_mask(mask))
  np.testing.assert_array_equal(found, mask)
  assert found.dtype == bool


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64", "bool"])
def test_plain_arrays_survive(dtype):
  array = (np.arange(30).reshape(2, 3, 5) % 7).astype(dtype)
  found = array_codec.decode_array(array_codec.encode_array(array))
  np.testing.assert_array_equal(found, array)
  assert found.dtype == array.dtype
  scalar = array_codec.decode_array(
    array_codec.encode_array(np.array(7, np.int32))
  )
  assert scalar.shape == () and scalar == 7


def test_objects_are_refused():
  with pytest.raises(ValueError, match="dtype object"):
    array_codec.encode_array(np.array([None]))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 48, 64), (5, 13, 19)])
def test_video_of_any_size_is_close(shape):
  rows, columns = np.mgrid[: shape[1], : shape[2]]
  picture = np.stack([rows * 3, columns * 2, rows + columns], -1) + 60
  video = np.stack([picture + 5 * t for t in range(shape[0])]).astype(np.uint8)
  blob = array_codec.encode_video(video, 8.0)
  found = array_codec.decode_video(blob)
  assert found.shape == video.shape
  error = np.abs(found.astype(int) - video)
  # YUV in 8 bits alone costs two or three levels; crf 14 about as much.
  assert error.mean() < 3
  assert array_codec.encode_video(video, 8.0) == blob
  first = array_codec.decode_video(blob, num_frames=1)
  np.testing.assert_array_equal(first, found[:1])


def test_a_small_film_is_encoded_to_the_same_bytes_whatever_lies_in_memory():
  """A disc moves over stripes; x264 once looked beyond small pictures."""
  rows, columns = np.mgrid[:48, :64]
  film = np.full((9, 48, 64, 3), 120.0) + 20 * np.sin(columns / 9)[..., None]
  for t in range(9):
    disc = np.hypot(rows - 24, columns - 20 - 2.5 * t) < 12
    stripes = 128 + 100 * np.sin(columns / 2 + rows / 3 - t)
    film[t, disc] = stripes[disc][:, None]
  film, rng, found = film.astype(np.uint8), np.random.default_rng(0), set()
  for number in range(20):
    sizes = (1000 * (number % 7 + 1), 77_777, 30_011 * (number % 5 + 1))
    noise = [rng.integers(0, 255, size, np.uint8) for size in sizes]
    found.add(array_codec.encode_video(film, 8.0))
    del noise
  assert len(found) == 1


def test_threads_may_decode_together():
  blob = array_codec.encode_floats(scenes.record(frames=9).tracks)
  expected = array_codec.decode_array(blob).tobytes()
  with futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(array_codec.decode_array, [blob] * 64))
  assert {array.tobytes() for array in found} == {expected}


@pytest.mark.parametrize(
  "damage",
  [
    lambda blob: blob[:3],
    lambda blob: blob[: len(blob) // 2],
    lambda blob: b"XX" + blob[2:],
    lambda blob: blob[:2] + b"\x09" + blob[3:],
    lambda blob: blob[:6] + b"\x09" + blob[7:],
    lambda blob: b"",
  ],
)
def test_damage_is_noticed(damage):
  for blob, decode in (
    (
      array_codec.encode_floats(scenes.record().tracks),
      array_codec.decode_array,
    ),
    (
      array_codec.encode_video(scenes.record().video, 8.0),
      array_codec.decode_video,
    ),
  ):
    if decode is array_codec.decode_video and damage(blob)[:2] != blob[:2]:
      continue  # An mp4 has no version of ours; the record's crc covers it.
    if decode is array_codec.decode_array or len(damage(blob)) < len(blob):
      with pytest.raises(array_codec.DamagedError):
        decode(damage(blob))
