"""Depth against its bound; smooth maps and whole numbers against themselves."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from more4d_jax.data.codec import byte_strings, coarse_to_fine, depth_codec

SHAPES = strategies.tuples(
  strategies.integers(1, 3),
  strategies.integers(1, 70),
  strategies.integers(1, 70),
)


def check(depth, tolerance):
  blob = depth_codec.encode(depth, tolerance)
  found = depth_codec.decode(blob)
  known = np.isfinite(depth) & (depth > 0)
  assert found.dtype == np.float32 and found.shape == depth.shape
  assert np.isnan(found[~known]).all()
  with np.errstate(all="ignore"):
    error = np.abs(found / depth.astype(np.float64) - 1)
  assert (error[known] <= tolerance).all()
  np.testing.assert_array_equal(
    depth_codec.decode(blob, first_only=True), found[:1]
  )
  return blob


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(
  arrays.arrays(
    np.float32,
    strategies.tuples(*[strategies.integers(1, 4)] * 3),
    elements=strategies.one_of(
      strategies.floats(width=32), strategies.floats(0, 100, width=32)
    ),
  ),
  strategies.sampled_from([2e-5, 5e-4, 0.1]),
)
def test_any_depth_keeps_the_bound(depth, tolerance):
  check(depth, tolerance)


@pytest.mark.parametrize("tolerance", [2e-5, 2.5e-4, 5e-4])
def test_smooth_depth_is_small(tolerance):
  rows, columns = np.mgrid[:60, :90]
  depth = np.stack([3 + np.sin(rows / 20) + columns / 90 + t for t in range(4)])
  depth = depth.astype(np.float32)
  depth[:, 20:30, 40:60] = 1
  depth[1, 5, 5] = np.nan
  blob = check(depth, tolerance)
  assert len(blob) < depth.nbytes / (8 if tolerance < 1e-4 else 20)


def test_without_a_bound_every_bit_is_kept():
  depth = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
  depth[0, 0, 0] = np.nan
  blob = depth_codec.encode(depth, None)
  assert depth_codec.decode(blob).tobytes() == depth.tobytes()
  assert len(depth_codec.decode(blob, first_only=True)) == 1
  with pytest.raises(ValueError, match="tolerance of depth is 0"):
    depth_codec.encode(depth, 0.0)


def test_damage_is_noticed():
  blob = depth_codec.encode(np.ones((2, 5, 6), np.float32), 1e-3)
  for part in (blob[:7], blob[: len(blob) // 2], blob[:-1], b"XX" + blob[2:]):
    with pytest.raises(depth_codec.DamagedError):
      depth_codec.decode(part)
  with pytest.raises(depth_codec.DamagedError, match="found WHOLE"):
    depth_codec.decode(byte_strings.encode_whole(np.zeros((2, 3), np.int32)))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
  SHAPES, strategies.integers(0, 2**32 - 1), strategies.booleans()
)
def test_interpolated_maps_are_within_half_a_step(shape, seed, masked):
  rng = np.random.default_rng(seed)
  scale = 10 ** rng.uniform(0, 8)
  units = rng.integers(-scale - 1, scale + 1, shape).astype(np.int32)
  matters = rng.random(shape[1:]) > 0.5 if masked else None
  misses, found = coarse_to_fine.encode(units, matters)
  half = coarse_to_fine.FINE // 2
  error = np.abs(found - units.astype(np.int64))
  assert (error <= half)[:, ... if matters is None else matters].all()
  coded = byte_strings.WholeNumbers(byte_strings.encode_whole(misses))
  decoded = coarse_to_fine.decode(coded, *shape[1:], 1.0)
  np.testing.assert_array_equal(decoded, coarse_to_fine.scaled(found, 1.0))


def test_straight_maps_cost_nothing():
  rows, columns = np.mgrid[:65, :97]
  units = coarse_to_fine.quantise((rows * 0.31 + columns * 0.17)[None], 1.0)
  misses, _ = coarse_to_fine.encode(units)
  coarse = 3 * 4  # Of the 32-pixel lattice; all else is a mean of others.
  assert not misses[:, coarse:].any() and misses[:, :coarse].any()


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  arrays.arrays(
    np.int32,
    arrays.array_shapes(min_dims=1, max_dims=3, min_side=0),
    elements=strategies.one_of(
      strategies.integers(-140, 140),
      strategies.integers(-40_000, 40_000),
      strategies.integers(-(2**31) + 200, 2**31 - 200),
    ),
  )
)
def test_whole_numbers_survive(numbers):
  found = byte_strings.decode_whole(byte_strings.encode_whole(numbers))
  np.testing.assert_array_equal(found, numbers)
  assert found.dtype == np.int32
