"""The bound of the track coding on every value, whatever the scene is."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from more4d_jax import errors
from more4d_jax.data.codec import byte_strings, track_codec
from more4d_jax.geometry import track_planes as device
from tests.data import scenes

INTRINSICS = np.float32([20, 19, 8.5, 6.25])
TOLERANCE = 5e-4


def smooth(frames=9, height=40, width=50, seed=0):
  """A wall and a sphere that turn and approach: three motions over time."""
  rng = np.random.default_rng(seed)
  rows, columns = np.mgrid[:height, :width] + 0.5
  depth = 4 + 0.3 * np.sin(rows / 9) + 0.2 * np.cos(columns / 7)
  ball = np.hypot(rows - height / 2, columns - width / 3) < height / 4
  depth[ball] -= 1.5
  first = np.stack(
    [(columns - 25) / 40 * depth, (rows - 20) / 40 * depth, depth], -1
  )
  tracks = np.repeat(first[None], frames, 0)
  for t in range(frames):
    angle = 0.1 * t
    turn = np.array(
      [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
      ]
    )
    tracks[t, ball] = (first[ball] - [0, 0, 3]) @ turn.T + [0, 0, 3 - 0.1 * t]
  tracks[1:] += rng.normal(size=(frames - 1, 1, 1, 3)) * 0.01
  return tracks.astype(np.float32)


def assert_bound(found, tracks, tolerance=TOLERANCE):
  """Every value: within the bound, or not finite just so, or invalid."""
  assert found.shape == tracks.shape and found.dtype == np.float32
  wanted = tracks.astype(np.float64)
  first = wanted[0]
  valid = np.isfinite(first).all(-1) & (first[..., 2] > 0)
  assert np.isnan(found[:, ~valid]).all()
  finite = np.isfinite(wanted) & valid[..., None]
  with np.errstate(invalid="ignore", over="ignore"):
    error = np.abs(found - wanted)
    allowed = np.broadcast_to(tolerance * first[..., 2:], error.shape)
    assert (error[finite] <= allowed[finite]).all()
  odd = ~np.isfinite(wanted) & valid[..., None]
  np.testing.assert_array_equal(found[odd], tracks[odd])


def check(tracks, tolerance=TOLERANCE, intrinsics=INTRINSICS):
  blob = track_codec.encode(tracks, intrinsics, tolerance)
  found = track_codec.decode(blob)
  assert_bound(found, tracks, tolerance)
  return blob, found


@pytest.mark.parametrize("tolerance", [1e-4, 5e-4, 1e-2])
def test_smooth_motion_is_small_and_within_the_bound(tolerance):
  tracks = smooth()
  blob, _ = check(tracks, tolerance, np.float32([40, 40, 25, 20]))
  planes = track_codec.decode_planes(blob)
  assert planes.basis.shape[1] <= 6  # Turning, approaching, the shifts.
  assert len(blob) < tracks.nbytes / 20
  # On their pixels' rays from the beginning, to float32.
  first = track_codec.decode(blob, [0])[0]
  columns = first[..., 0] / first[..., 2] * 40 + 25
  assert np.abs(columns - np.arange(50) - 0.5).max() < 1e-4


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(
  arrays.arrays(
    np.float32,
    strategies.tuples(
      strategies.integers(1, 5),
      strategies.integers(1, 4),
      strategies.integers(1, 5),
      strategies.just(3),
    ),
    elements=strategies.one_of(
      strategies.floats(width=32),  # With NaN, infinity, denormals, 1e38.
      strategies.floats(-10, 10, width=32),
    ),
  ),
  strategies.sampled_from([1e-4, 5e-4, 0.1]),
  strategies.booleans(),
)
def test_any_tracks_keep_the_bound(tracks, tolerance, on_grid):
  check(tracks, tolerance, INTRINSICS if on_grid else None)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  strategies.integers(0, 2**32 - 1),
  strategies.integers(2, 9),
  strategies.integers(1, 40),
  strategies.integers(1, 40),
  strategies.floats(-5, 1),
)
def test_moving_scenes_keep_the_bound(seed, frames, height, width, noise):
  rng = np.random.default_rng(seed)
  depth = np.exp(rng.normal(size=(height, width)) * 2)
  first = np.stack([*rng.normal(size=(2, height, width)) * depth, depth], -1)
  way = rng.normal(size=(frames, 2)) @ rng.normal(size=(2, height * width * 3))
  way = way.reshape(frames, height, width, 3) + 10**noise * rng.normal(
    size=(frames, height, width, 3)
  )
  way[0] = 0
  check((first + way).astype(np.float32))


def with_odd_points():
  """A point that is listed, and twenty that shake and are corrected."""
  tracks = smooth()
  tracks[3, 5, 5] += 1e6
  rng = np.random.default_rng(1)
  rows, columns = rng.integers(0, 40, 20), rng.integers(0, 50, 20)
  tracks[1:, rows, columns] += 0.02 * rng.normal(size=(8, 20, 3))
  return tracks


def nothing_valid(tracks):
  tracks[0, ..., 2] = -1


def mixed_invalid(tracks):
  tracks[0, 0, :4, 2] = np.nan, np.inf, 0, -2
  tracks[0, 1, 0, 0] = np.nan


@pytest.mark.parametrize(
  "change",
  [
    lambda tracks: tracks[:, 3, 3].__imul__(1e-3 / tracks[0, 3, 3, 2]),
    lambda tracks: tracks[:, 3, 3].__imul__(1e4 / tracks[0, 3, 3, 2]),
    lambda tracks: tracks[0, 3, 3].__imul__(1e-3 / tracks[0, 3, 3, 2]),
    lambda tracks: tracks[4, 5, 5].__iadd__(1e6),
    lambda tracks: tracks[4, 5, 5].__iadd__(np.inf),
    lambda tracks: tracks[4:, 5, 5].__imul__(np.nan),
    lambda tracks: tracks[3:, 10:20, 10:20, 2].__imul__(-1),
    lambda tracks: tracks.__imul__(1e-6),
    lambda tracks: tracks.__imul__(1e6),
    nothing_valid,
    mixed_invalid,
  ],
  ids=[
    "depth 1e-3",
    "depth 1e4",
    "first depth 1e-3",
    "teleports",
    "to infinity",
    "lost",
    "behind the camera",
    "tiny scene",
    "huge scene",
    "all invalid",
    "some invalid",
  ],
)
def test_adversarial_scenes_keep_the_bound(change):
  tracks = smooth()
  change(tracks)
  blob, _ = check(tracks)
  # One odd point does not spoil the coding of the others.
  assert len(blob) < tracks.nbytes / 15


@pytest.mark.parametrize("shape", [(1, 7, 5), (5, 1, 1), (1, 1, 1), (2, 1, 90)])
def test_smallest_scenes(shape):
  frames, height, width = shape
  check(smooth()[:frames, :height, :width])


def test_frames_decode_alone():
  blob, found = check(with_odd_points())
  planes = track_codec.decode_planes(blob)
  assert len(planes.corrected) and len(planes.listed)
  for frames in ([0], [3, 4], [8, 0, 5], []):
    part = track_codec.decode(blob, frames)
    # Sums of another shape may be taken in another order: float32.
    np.testing.assert_allclose(part, found[frames], rtol=1e-5, atol=1e-6)


def test_the_device_multiplies_the_planes():
  tracks = with_odd_points()
  tracks[0, 0, 0, 2] = np.nan
  blob, found = check(tracks)
  planes = track_codec.decode_planes(blob)
  factors = planes.padded(num_planes=12, num_points=21)
  assert factors["planes"].shape == (12, 3, 40, 50)
  # Float32 sums in another order.
  on_device = device.tracks(jax.tree.map(jnp.asarray, factors))
  np.testing.assert_allclose(on_device, found, rtol=1e-5, atol=1e-5)
  with pytest.raises(errors.UserError, match="expected at most 1 and 21"):
    planes.padded(num_planes=1, num_points=21)


def test_without_a_bound_every_bit_is_kept():
  tracks = smooth()
  mixed_invalid(tracks)
  blob = track_codec.encode(tracks, INTRINSICS, None)
  assert track_codec.decode(blob).tobytes() == tracks.tobytes()
  assert track_codec.decode(blob, [2]).tobytes() == tracks[2:3].tobytes()
  listed = track_codec.decode_planes(blob).tracks()
  np.testing.assert_array_equal(listed, tracks)


def test_invalid_points_can_be_listed():
  tracks = smooth()
  mixed_invalid(tracks)
  blob = track_codec.encode(tracks, None, TOLERANCE, keep_invalid=True)
  found = track_codec.decode(blob)
  np.testing.assert_array_equal(found[:, 0, :4], tracks[:, 0, :4])
  np.testing.assert_array_equal(found[:, 1, 0], tracks[:, 1, 0])
  np.testing.assert_allclose(found[:, 2:], tracks[:, 2:], atol=5e-4 * 5)


def test_equal_tracks_give_equal_bytes():
  first, again = (track_codec.encode(smooth(), INTRINSICS, 1e-3) for _ in "12")
  assert first == again


@pytest.mark.parametrize("tolerance", [0.0, 1e-6, 1.0])
def test_bounds_that_cannot_be_kept_are_refused(tolerance):
  with pytest.raises(ValueError, match="or None to keep every bit"):
    track_codec.encode(smooth(), INTRINSICS, tolerance)


def test_damage_is_noticed():
  blob = track_codec.encode(scenes.record().tracks, INTRINSICS, TOLERANCE)
  for part in (blob[:7], blob[: len(blob) // 2], blob[:-1], b"XX" + blob[2:]):
    with pytest.raises(track_codec.DamagedError):
      track_codec.decode(part)
  other = byte_strings.encode_whole(np.zeros((2, 3), np.int32))
  with pytest.raises(track_codec.DamagedError, match="found WHOLE"):
    track_codec.decode(other)
