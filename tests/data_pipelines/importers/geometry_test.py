"""Every layout: imported tracks land on the source's 2D tracks."""

import functools
import math

import numpy as np
import pytest

from data_pipelines.importers import run
from more4d_jax.data import record_directory, records
from tests.data_pipelines.importers import layouts, worlds

WIDE = (worlds.WIDTH / 2) / math.tan(math.radians(30))
SQUARE = np.array([[WIDE, 0, 16], [0, WIDE, 16], [0, 0, 1]])
GRID = (worlds.HEIGHT, worlds.WIDTH)

# Kind, how it is written, the world, and the pixels that its storage costs:
# float32 positions and poses leave 1e-3.
SPARSE = {
  "npz": ("npz", layouts.plain, {}, 1e-3),
  "video": ("video", layouts.video, {}, 1e-3),
  "tapip3d": ("tapip3d", layouts.tapip3d, {}, 1e-3),
  "spatialtracker": (
    "spatialtracker",
    functools.partial(layouts.tapip3d, channels_first=True),
    {},
    1e-3,
  ),
  "tapvid3d": ("tapvid3d", layouts.tapvid3d, {}, 1e-3),
  "tapvid3d without poses": (
    "tapvid3d",
    functools.partial(layouts.tapvid3d, poses=False),
    {},
    1e-3,
  ),
  "stereo4d": (
    "stereo4d",
    layouts.stereo4d,
    {"matrix": SQUARE, "size": (worlds.WIDTH, worlds.WIDTH)},
    1e-3,
  ),
  "pointodyssey": ("pointodyssey", layouts.pointodyssey, {}, 1e-3),
  "pointodyssey 1.0": (
    "pointodyssey",
    functools.partial(layouts.pointodyssey, old=True),
    {},
    1e-3,
  ),
}


EXACT = records.EncodeOptions(tracks_tolerance=None, depth_tolerance=None)


def imported(kind, folder, **options):
  """Runs the import; its records, kept to the bit, and its report."""
  made = run.import_records(
    run.ImportOptions(
      kind=kind,
      sources=(str(folder),),
      out=str(folder.parent / "out"),
      processes=1,
      progress=False,
      **{"encode": EXACT, **options},
    )
  )
  opened = record_directory.open_records(folder.parent / "out")
  return [opened[i].decode() for i in range(len(opened))], made


def reprojected(record, tracks):
  """[T N 2] by explicit 3x4 projection of each frame."""
  fx, fy, cx, cy = record.intrinsics.astype(np.float64)
  matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
  found = []
  poses = record.world_from_camera.astype(np.float64)
  if record.tracks_frame == "each_camera":
    poses = np.tile(np.eye(4), (len(poses), 1, 1))
  for pose, points in zip(poses, tracks):
    projection = matrix @ np.linalg.inv(pose)[:3]
    seen = np.c_[points, np.ones(len(points))] @ projection.T
    found.append(seen[:, :2] / seen[:, 2:])
  return np.stack(found)


@pytest.mark.parametrize("name", SPARSE)
def test_points_land_on_the_source(tmp_path, name):
  kind, write, options, pixels = SPARSE[name]
  world = worlds.make(**options)
  folder = tmp_path / "source"
  folder.mkdir()
  write(folder, world)
  [record], report = imported(kind, folder)
  assert (report.taken, report.refused) == (1, {})
  assert record.sparse
  points = record.points
  assert points.tracks.shape == world.points.shape
  known = np.isfinite(points.tracks).all(-1)
  assert (known | ~world.visible).all()
  off = reprojected(record, points.tracks) - world.positions
  assert np.abs(off[known]).max() < pixels
  wanted = world.own if record.tracks_frame == "each_camera" else world.first
  # The film's depth is stored in float32, the rest in float32 or better.
  assert np.abs(points.tracks - wanted)[known].max() < 1e-5
  np.testing.assert_array_equal(points.visible, world.visible)
  chosen = np.arange(len(points.pixels))
  asked = world.positions[points.query_frames, chosen]
  assert np.abs(points.pixels - asked).max() < pixels
  assert record.video.shape == world.video.shape


def test_dense_plain_and_film_keep_every_pixel(tmp_path):
  world = worlds.make(dense=True)
  for kind, write in (("npz", layouts.plain), ("video", layouts.video)):
    folder = tmp_path / kind / "source"
    folder.mkdir(parents=True)
    write(folder, world, grid=GRID)
    [record], report = imported(kind, folder)
    assert (report.taken, report.refused) == (1, {})
    tracks = record.tracks.reshape(worlds.FRAMES, -1, 3)
    off = np.abs(reprojected(record, tracks) - world.positions).max(-1)
    # Hidden points keep their pixels; only their depth is interpolated.
    assert off[world.visible].max() < 1e-3
    far = np.abs(tracks - world.first).max(-1)
    assert far[world.visible].max() < 1e-5
    assert record.caption == "points drift"


def test_first_frame_moved_onto_its_pixels(tmp_path):
  world = worlds.make(dense=True, still=True)
  folder = tmp_path / "source"
  folder.mkdir()
  rng = np.random.default_rng(0)
  jitter = rng.uniform(-0.01, 0.01, (1, *world.points.shape[1:]))
  moved = worlds.World(**{**vars(world), "points": world.points + jitter})
  layouts.plain(folder, moved, grid=GRID)
  [record], report = imported("npz", folder)
  assert report.mended == 1
  assert "moved onto its ray" in next(iter(report.mended_reasons))
  tracks = record.tracks.reshape(worlds.FRAMES, -1, 3)
  off = reprojected(record, tracks)[0] - world.positions[0]
  assert np.abs(off).max() < 1e-4
  # As a whole: what each point does afterwards is unchanged.
  path = moved.first - moved.first[0]
  assert np.abs((tracks - tracks[0]) - path).max() < 1e-5
