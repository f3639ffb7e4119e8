"""Measures of curation against closed forms; duplicates, settings."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from data_pipelines.trajscene import curation_filters, curation_measures
from more4d_jax import errors
from tests.data import scenes

HEIGHT, WIDTH = 12, 17


def still(**changes):
  """A wall that stands still, seen by a film that changes."""
  record = scenes.record(0, 9, HEIGHT, WIDTH)
  tracks = np.repeat(record.tracks[:1], 9, 0)
  return dataclasses.replace(record, tracks=tracks, **changes)


def moved(path):
  """The wall moved by `path` [T 3] as a whole."""
  record = still()
  tracks = record.tracks + np.asarray(path, np.float32)[:, None, None]
  return dataclasses.replace(record, tracks=tracks)


def measures_of(record):
  return curation_measures.measure(record)


def test_motion_and_jerk_have_closed_forms():
  t = np.arange(9.0)
  record = still()
  depth = record.tracks[0, :, :, 2].ravel().astype(float)
  # x = 0.3 t on average 0.3 * 4 away; steady motion has no jerk.
  steady = measures_of(moved(np.stack([0.3 * t, 0 * t, 0 * t], -1)))
  wanted = np.quantile(1.2 / depth, 0.95)
  assert steady["motion"] == pytest.approx(wanted, rel=1e-4)
  assert steady["jerk"] == pytest.approx(0, abs=1e-5)
  # The third difference of 0.01 t^3 is 0.06 everywhere.
  rough = measures_of(moved(np.stack([0 * t, 0.01 * t**3, 0 * t], -1)))
  nearest = np.sort(0.06 / depth)[int(0.95 * len(depth)) :].mean()
  assert rough["jerk"] == pytest.approx(nearest, rel=1e-3)
  assert measures_of(record)["motion"] == 0
  visible = record.visible.mean()
  assert measures_of(record)["visible"] == pytest.approx(visible)


def test_depth_measures():
  record = still()
  z = record.tracks[..., 2].astype(float)
  found = measures_of(record)
  assert found["depth_spread"] == pytest.approx(z.std() / np.median(z))
  assert found["invalid_depth"] == 0
  tracks = record.tracks.copy()
  tracks[4, 0, :5] *= 1000  # Nearly infinite once.
  tracks[:, 1, :3] = np.nan  # No depth.
  tracks[7, 2, 0, 2] = 0  # At the camera once.
  found = measures_of(dataclasses.replace(record, tracks=tracks))
  assert found["invalid_depth"] == pytest.approx(9 / (HEIGHT * WIDTH))


def test_a_moving_camera_is_taken_out():
  """Depth is that of each frame's camera, wherever the tracks' axes are."""
  record = still()
  poses = np.tile(np.eye(4, dtype=np.float32), (9, 1, 1))
  poses[:, 2, 3] = np.arange(9) * 0.1
  paths = curation_measures.paths_of(
    dataclasses.replace(record, world_from_camera=poses)
  )
  nearer = record.tracks[..., 2].reshape(9, -1) - 0.1 * np.arange(9)[:, None]
  np.testing.assert_allclose(paths.own[..., 2], nearer, atol=1e-5)


def test_reprojection_is_in_pixels():
  record = still()
  assert measures_of(record)["reprojection"] < 1e-4
  fx = record.intrinsics + np.float32([0, 0, 3, 4])
  shifted = dataclasses.replace(record, intrinsics=fx)
  assert measures_of(shifted)["reprojection"] == pytest.approx(5, abs=1e-4)


def test_scaling_changes_nothing_but_for_degenerate_clouds():
  record = still()
  assert measures_of(record)["scale"] == 0
  tracks = record.tracks.copy()
  tracks[:, :4] = record.tracks[:, :4] * np.float32(1.5e-6 / 3)
  bad = measures_of(dataclasses.replace(record, tracks=tracks))
  assert bad["scale"] > 0.05


def test_letterbox_frozen_and_flat_films():
  rng = np.random.default_rng(0)
  film = rng.integers(40, 255, (9, HEIGHT, WIDTH, 3)).astype(np.uint8)
  assert curation_measures.letterbox(film) == 0
  barred = film.copy()
  barred[:, :2] = barred[:, -1:] = 5
  assert curation_measures.letterbox(barred) == pytest.approx(3 / HEIGHT)
  barred[:, :, :3] = 0
  share = 1 - (HEIGHT - 3) * (WIDTH - 3) / (HEIGHT * WIDTH)
  assert curation_measures.letterbox(barred) == pytest.approx(share)
  barred[4, 0, 8] = 200  # A bar in most frames is none.
  assert curation_measures.letterbox(barred) < share
  assert curation_measures.frozen(film) == 0
  film[3:6] = film[2]
  assert curation_measures.frozen(film) == 3 / 8
  assert curation_measures.flat(film) == 0
  film[7] = 77
  assert curation_measures.flat(film) == pytest.approx(1 / 9)


def smooth(seed, size=(48, 64)):
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 255, (3, 6, 8, 3)).astype(np.uint8)
  frames = [Image.fromarray(c).resize(size[::-1], 2) for c in coarse]
  return np.stack([np.asarray(frame) for frame in frames])


def bits(first, second):
  return (int(first, 16) ^ int(second, 16)).bit_count()


def test_hash_survives_size_and_noise_and_tells_films_apart():
  film = smooth(0)
  first = curation_measures.perceptual_hash(film)
  small = np.stack(
    [np.asarray(Image.fromarray(f).resize((40, 30), 3)) for f in film]
  )
  noise = np.random.default_rng(1).integers(-3, 4, film.shape)
  noisy = np.clip(film.astype(int) + noise, 0, 255).astype(np.uint8)
  for copy in (small, noisy):
    assert bits(first, curation_measures.perceptual_hash(copy)) < 10
  others = [curation_measures.perceptual_hash(smooth(n)) for n in range(1, 9)]
  assert min(bits(first, other) for other in others) > 40


def test_every_near_copy_is_found():
  """Against all pairs; 11 flipped bits leave one of 12 bands alone."""
  rng = np.random.default_rng(2)
  others = [f"{n}=off" for n in curation_filters.FILTERS if n != "duplicate"]
  limits = curation_filters.thresholds([*others, "duplicate=12"])
  lines = []
  for number in range(30):
    base = rng.integers(0, 256, 24, np.uint8)
    for flips in (0, 5, 11, 12, 30):
      chosen = rng.choice(192, flips, replace=False)
      flipped = np.unpackbits(base)
      flipped[chosen] ^= 1
      text = np.packbits(flipped).tobytes().hex()
      name = f"{number:02d}-{flips:02d}"
      lines.append({"id": name, "index": len(lines), "hash": text})
  found = curation_filters.copies(lines, limits)
  wanted = {}
  for line in lines:
    near = [
      (bits(line["hash"], other["hash"]), other["id"])
      for other in lines
      if other["id"] < line["id"]
    ]
    if near and min(near)[0] < 12:
      wanted[line["id"]] = min(near)
  assert found == wanted
  assert len(found) >= 60
  assert curation_filters.copies(lines, {**limits, "duplicate": None}) == {}


def test_sparse_records_are_measured():
  record = scenes.record(1, 9, HEIGHT, WIDTH, sparse=True)
  found = measures_of(record)
  points = record.points.tracks.astype(float)
  away = np.linalg.norm(points - points[0], axis=-1).mean(0)
  wanted = np.quantile(away / points[0, :, 2], 0.95)
  assert found["motion"] == pytest.approx(wanted, rel=1e-5)
  assert found["reprojection"] < 1e-4


def test_settings_are_checked():
  limits = curation_filters.thresholds(["motion=0.5", "letterbox=off"])
  assert (limits["motion"], limits["letterbox"]) == (0.5, None)
  for setting, message in {
    "emotion=1": "no filter setting 'emotion=1'",
    "motion": "expected NAME=NUMBER",
    "motion=much": "expected a number or off",
    "duplicate=13": "expected at most 12",
  }.items():
    with pytest.raises(errors.UserError, match=message):
      curation_filters.thresholds([setting])
