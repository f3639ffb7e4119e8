"""Kubric's TFRecords: analytic spheres over a plane, in MOVi's layout."""

import numpy as np
import pytest

from data_pipelines.importers import kubric, tfrecord
from tests.data_pipelines.importers import geometry_test, layouts, worlds

FRAMES, SIZE, RADIUS = 9, 24, 1.0
FOCAL, SENSOR = 35.0, 32.0


def quaternion(axis, angle):
  axis = np.asarray(axis, float) / np.linalg.norm(axis)
  return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis)])


class Scene:
  """Two balls that roll over the plane z = 0, seen by a moving camera."""

  def __init__(self):
    t = np.arange(FRAMES)
    self.centres = np.stack(
      [
        np.stack([-1.2 + 0.1 * t, 0 * t, 1 + 0.02 * t], -1),
        np.stack([1.4 - 0.05 * t, 0.5 - 0.1 * t, 1 + 0 * t], -1),
      ]
    )
    self.axes = [[0, 1, 0.2], [1, 0.3, 0]]
    # Looks down along -z, as Blender's cameras do.
    self.tilt = [1, 0, 0]
    self.camera = np.stack([0.02 * t, -6 + 0 * t, 8 + 0.03 * t], -1)
    self.angle = 0.55 + 0.002 * t

  def turn(self, number, t):
    return worlds.turn(self.axes[number], 0.08 * t)

  def matrix_world(self, t):
    matrix = np.eye(4)
    matrix[:3, :3] = worlds.turn(self.tilt, self.angle[t])
    matrix[:3, 3] = self.camera[t]
    return matrix

  def cast(self, t, rays):
    """Distance along unit rays [N 3] and what is hit: 0 plane, 1, 2."""
    origin = self.camera[t]
    best = -origin[2] / rays[:, 2]
    hit = np.zeros(len(rays), int)
    for number, centres in enumerate(self.centres, 1):
      to = origin - centres[t]
      b = rays @ to
      root = b * b - to @ to + RADIUS**2
      near = -b - np.sqrt(np.maximum(root, 0))
      nearer = (root > 0) & (near < best)
      best, hit = np.where(nearer, near, best), np.where(nearer, number, hit)
    return best, hit

  def rays(self, t):
    """Kubric's unprojection: its intrinsics carry the signs."""
    f = FOCAL / SENSOR
    matrix = np.array([[f, 0, -0.5], [0, -f, -0.5], [0, 0, -1]])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    raster = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], -1) / SIZE
    plane = np.c_[raster, np.ones(len(raster))] @ np.linalg.inv(matrix).T
    plane /= np.linalg.norm(plane, axis=-1, keepdims=True)
    return plane @ self.matrix_world(t)[:3, :3].T

  def project(self, t, points):
    """Kubric's projection to pixels."""
    f = FOCAL / SENSOR
    matrix = np.array([[f, 0, -0.5], [0, -f, -0.5], [0, 0, -1]])
    seen = worlds.apply(np.linalg.inv(self.matrix_world(t)), points)
    seen = seen @ matrix.T
    return seen[:, :2] / seen[:, 2:] * SIZE

  def features(self):
    cast = [self.cast(t, self.rays(t)) for t in range(FRAMES)]
    distance = np.stack([d.reshape(SIZE, SIZE) for d, _ in cast])
    segments = np.stack([h.reshape(SIZE, SIZE) for _, h in cast])
    low, high = distance.min(), distance.max()
    stored = np.round((distance - low) / (high - low) * 65535)
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    boxes = [
      [corners @ self.turn(n, t).T + centres[t] for t in range(FRAMES)]
      for n, centres in enumerate(self.centres)
    ]
    colours = np.stack([segments * 80 + 40] * 3, -1).astype(np.uint8)
    return {
      "video": [layouts.picture(frame) for frame in colours],
      "segmentations": [layouts.picture(s) for s in segments.astype(np.uint8)],
      "depth": [layouts.picture(d) for d in stored.astype(np.uint16)],
      "metadata/depth_range": np.array([low, high]),
      "metadata/video_name": [b"17"],
      "camera/focal_length": np.array([FOCAL]),
      "camera/sensor_width": np.array([SENSOR]),
      "camera/positions": self.camera,
      "camera/quaternions": np.stack(
        [quaternion(self.tilt, angle) for angle in self.angle]
      ),
      "instances/positions": self.centres,
      "instances/quaternions": np.stack(
        [
          [quaternion(axis, 0.08 * t) for t in range(FRAMES)]
          for axis in self.axes
        ]
      ),
      "instances/bboxes_3d": np.array(boxes),
      "instances/is_dynamic": np.array([1, 0]),
    }

  def paths(self):
    """World positions [T N 3] of the points seen in frame 0, and what."""
    distance, hit = self.cast(0, self.rays(0))
    first = self.camera[0] + self.rays(0) * distance[:, None]
    paths = np.repeat(first[None], FRAMES, 0)
    for number, centres in enumerate(self.centres, 1):
      mine = hit == number
      for t in range(FRAMES):
        turned = (first[mine] - centres[0]) @ self.turn(number - 1, t).T
        paths[t, mine] = turned + centres[t]
    return paths, hit


def test_every_pixel_follows_its_rigid_body(tmp_path):
  scene = Scene()
  folder = tmp_path / "source"
  folder.mkdir()
  payloads = [layouts.example(scene.features())] * 2
  layouts.tfrecord_file(folder / "movi_f-train.tfrecord-00000-of-1", payloads)
  found, report = geometry_test.imported("kubric", folder)
  assert (report.taken, report.mended, report.refused) == (2, 0, {})
  assert len({record.id for record in found}) == 2
  record = found[0]
  paths, hit = scene.paths()
  tracks = record.tracks.reshape(FRAMES, -1, 3)
  pixels = geometry_test.reprojected(record, tracks)
  source = np.stack([scene.project(t, p) for t, p in enumerate(paths)])
  # 16 bits over 12 units of distance are 1e-4, at a focal length of 26.
  assert np.abs(pixels - source).max() < 2e-3
  np.testing.assert_array_equal(record.segmentation.ravel(), hit)
  assert record.fps == 12.0
  assert record.caption.startswith("1 objects are thrown")


def test_hidden_points_are_hidden(tmp_path):
  scene = Scene()
  made = kubric.scene_of(layouts.example(scene.features()), "name")
  paths, hit = scene.paths()
  for t in range(1, FRAMES):
    way = paths[t] - scene.camera[t]
    far = np.linalg.norm(way, axis=-1)
    nearest, what = scene.cast(t, way / far[:, None])
    # Steps of a coarse depth map matter at the balls' edges only.
    clear = (what == hit) & (nearest > far * (1 - 1e-6))
    pixels = scene.project(t, paths[t])
    inside = ((pixels >= 0) & (pixels < SIZE)).all(-1)
    # Covered by the same thing in all four pixels around it.
    segments = scene.cast(t, scene.rays(t))[1].reshape(SIZE, SIZE)
    covered = inside & (nearest < far * 0.9)
    columns, rows = np.floor(pixels - 0.5).astype(int).T
    for column, row in ((0, 0), (1, 0), (0, 1), (1, 1)):
      y = np.clip(rows + row, 0, SIZE - 1)
      x = np.clip(columns + column, 0, SIZE - 1)
      covered &= segments[y, x] != hit
    assert not made.visible[t][covered].any()
    assert made.visible[t][clear & inside].mean() > 0.97


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"depth": None}, "has no depth"),
    ({"instances/positions": np.zeros(7)}, "object poses"),
    ({"segmentations": [b"no png"] * FRAMES}, "cannot be decoded"),
    ({"instances/bboxes_3d": "shaken"}, "is not rigid"),
  ],
)
def test_bad_examples_are_refused(tmp_path, change, message):
  features = Scene().features()
  for name, value in change.items():
    if value is None:
      del features[name]
    elif isinstance(value, str):
      features[name] = features[name] + np.random.default_rng(0).normal(
        0, 0.2, features[name].shape
      )
    else:
      features[name] = value
  folder = tmp_path / "source"
  folder.mkdir()
  good, bad = layouts.example(Scene().features()), layouts.example(features)
  layouts.tfrecord_file(folder / "a.tfrecord-0", [bad, good])
  found, report = geometry_test.imported("kubric", folder)
  assert len(found) == report.taken == 1
  assert message in next(iter(report.refused))


def test_cut_off_file_gives_what_was_whole(tmp_path):
  payload = layouts.example(Scene().features())
  path = tmp_path / "source" / "a.tfrecord"
  path.parent.mkdir()
  layouts.tfrecord_file(path, [payload, payload])
  path.write_bytes(path.read_bytes()[:-100])
  _, report = geometry_test.imported("kubric", path.parent)
  assert report.taken == 1
  assert "cut off" in next(iter(report.refused))


def test_checksum_of_a_known_message():
  # CRC-32C of "123456789" is e3069283; masked as TFRecord's format says.
  crc = 0xE3069283
  masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
  assert tfrecord.masked_crc(b"123456789") == masked


def test_a_damaged_length_is_found(tmp_path):
  path = tmp_path / "a.tfrecord"
  layouts.tfrecord_file(path, [b"payload"])
  path.write_bytes(b"\x08" + path.read_bytes()[1:])
  with pytest.raises(tfrecord.DamagedError, match="header is damaged"):
    list(tfrecord.entries(path, 100))
