import numpy as np
import PIL.Image
import plyfile
import pygltflib
import pytest
import trimesh

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.viewing import export


def _scene():
  rng = np.random.default_rng(0)
  return scene_lib.Scene(
    tracks=rng.uniform(1, 2, (3, 4, 5, 3)).astype(np.float32),
    visible=np.ones((3, 4, 5), bool),
    colours=rng.integers(0, 256, (4, 5, 3), dtype=np.uint8),
    intrinsics=np.asarray([5.0, 5.0, 2.5, 2.0], np.float32),
    fps=8.0,
  )


def test_ply_files_hold_every_point_and_colour(tmp_path):
  scene = _scene()
  written = export.export(scene, ["ply"], tmp_path / "out")
  assert written == {"ply": str(tmp_path / "out" / "ply")}
  for t in range(3):
    cloud = trimesh.load(tmp_path / "out" / "ply" / f"frame_{t:04d}.ply")
    np.testing.assert_array_equal(
      np.asarray(cloud.vertices), scene.tracks[t].reshape(-1, 3)
    )
    np.testing.assert_array_equal(
      np.asarray(cloud.colors)[:, :3], scene.colours.reshape(-1, 3)
    )
    vertex = plyfile.PlyData.read(
      tmp_path / "out" / "ply" / f"frame_{t:04d}.ply"
    )["vertex"]
    places = np.stack([vertex[name] for name in "xyz"], axis=-1)
    np.testing.assert_array_equal(places, scene.tracks[t].reshape(-1, 3))
    colours = [vertex[name] for name in ("red", "green", "blue")]
    np.testing.assert_array_equal(
      np.stack(colours, axis=-1), scene.colours.reshape(-1, 3)
    )


def test_html_target_writes_the_page(tmp_path):
  written = export.export(_scene(), ["html"], tmp_path)
  assert (tmp_path / "scene.html").read_text().startswith("<!doctype html>")
  assert written["html"] == str(tmp_path / "scene.html")


def test_splats_hold_places_colours_and_sizes(tmp_path):
  scene = _scene()
  written = export.export(scene, ["3dgs"], tmp_path)["3dgs"]
  for t in range(3):
    vertex = plyfile.PlyData.read(f"{written}/frame_{t:04d}.ply")["vertex"]
    places = np.stack([vertex[n] for n in "xyz"], -1)
    np.testing.assert_array_equal(places, scene.tracks[t].reshape(-1, 3))
    colours = np.stack([vertex[f"f_dc_{i}"] for i in range(3)], -1)
    colours = 255 * (0.5 + colours / np.sqrt(4 * np.pi))
    np.testing.assert_allclose(colours, scene.colours.reshape(-1, 3), atol=0.01)
    opacity = 1 / (1 + np.exp(-vertex["opacity"].astype(np.float64)))
    np.testing.assert_allclose(opacity, 0.99, atol=1e-3)
    turn = np.stack([vertex[f"rot_{i}"] for i in range(4)], -1)
    np.testing.assert_array_equal(turn, np.tile([1, 0, 0, 0], (20, 1)))
    half = np.exp(vertex["scale_1"])
    depth = scene.tracks[0, ..., 2].reshape(-1)
    np.testing.assert_allclose(half, 0.5 * depth / 5, rtol=1e-5)


def test_glb_plays_the_frames(tmp_path):
  scene = _scene()
  path = export.export(scene, ["glb"], tmp_path)["glb"]
  loaded = trimesh.load(path)
  (cloud,) = loaded.geometry.values()
  flip = np.asarray([1, -1, -1])
  np.testing.assert_array_equal(
    np.asarray(cloud.vertices), scene.tracks[0].reshape(-1, 3) * flip
  )
  np.testing.assert_array_equal(
    np.asarray(cloud.colors)[:, :3], scene.colours.reshape(-1, 3)
  )
  file = pygltflib.GLTF2().load(path)
  (primitive,) = file.meshes[0].primitives
  blob = file.binary_blob()

  def values(number):
    accessor = file.accessors[number]
    view = file.bufferViews[accessor.bufferView]
    part = blob[view.byteOffset : view.byteOffset + view.byteLength]
    return np.frombuffer(part, np.float32)

  for t, target in enumerate(primitive.targets, start=1):
    step = values(target["POSITION"]).reshape(-1, 3) * flip
    expected = (scene.tracks[t] - scene.tracks[0]).reshape(-1, 3)
    np.testing.assert_array_equal(step, expected)
  (sampler,) = file.animations[0].samplers
  np.testing.assert_array_equal(values(sampler.input), np.arange(3) / 8)
  weights = values(sampler.output).reshape(3, 2)
  np.testing.assert_array_equal(weights, [[0, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_colmap_reads_camera_picture_and_points(tmp_path, kind):
  pycolmap = pytest.importorskip("pycolmap")
  scene = _scene()
  folder = export.export(scene, ["colmap"], tmp_path)["colmap"]
  model = pycolmap.Reconstruction()
  getattr(model, f"read_{kind}")(f"{folder}/sparse/0")
  (camera,) = model.cameras.values()
  assert camera.model.name == "PINHOLE"
  np.testing.assert_allclose(camera.params, scene.intrinsics)
  assert (camera.height, camera.width) == (4, 5)
  (image,) = model.images.values()
  assert image.name == "frame_0000.png"
  np.testing.assert_array_equal(image.cam_from_world().matrix(), np.eye(3, 4))
  points = [model.points3D[i] for i in sorted(model.points3D)]
  np.testing.assert_allclose(
    [p.xyz for p in points], scene.tracks[0].reshape(-1, 3), rtol=1e-6
  )
  np.testing.assert_array_equal(
    [p.color for p in points], scene.colours.reshape(-1, 3)
  )
  picture = PIL.Image.open(f"{folder}/images/{image.name}")
  np.testing.assert_array_equal(picture, scene.colours)


def test_a_budget_of_points(tmp_path):
  rng = np.random.default_rng(0)
  tracks = rng.uniform(1, 2, (2, 30, 40, 3)).astype(np.float32)
  scene = scene_lib.Scene(
    tracks, np.ones((2, 30, 40), bool),
    rng.integers(0, 256, (30, 40, 3), dtype=np.uint8),
    np.asarray([40.0, 40.0, 20.0, 15.0], np.float32), 8.0,
  )  # fmt: skip
  path = export.export(scene, ["npz"], tmp_path, points=300)["npz"]
  with np.load(path) as found:
    assert found["positions"].shape == (2, 300, 3)
    assert found["spacing"].mean() > 1.5 * (1.5 / 40)
  assert export.size_of(path) > 300 * 2 * 12
  with pytest.raises(errors.UserError, match="--points of at least 1, found 0"):
    export.export(scene, ["npz"], tmp_path, points=0)


@pytest.mark.parametrize("bad", ["nan", "behind"])
def test_scenes_without_points_are_one_line(tmp_path, bad):
  scene = _scene()
  scene.tracks[..., 2] = np.nan if bad == "nan" else -1
  with pytest.raises(errors.UserError, match="none that is finite"):
    export.export(scene, ["glb"], tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_a_single_point(tmp_path):
  scene = scene_lib.Scene(
    np.ones((1, 1, 1, 3), np.float32), np.ones((1, 1, 1), bool),
    np.full((1, 1, 3), 7, np.uint8), np.ones(4, np.float32), 8.0,
  )  # fmt: skip
  written = export.export(scene, ["ply", "npz", "3dgs", "glb"], tmp_path)
  (cloud,) = trimesh.load(written["glb"]).geometry.values()
  np.testing.assert_array_equal(np.asarray(cloud.vertices), [[1, -1, -1]])


@pytest.mark.parametrize("targets", [["usdz"], ["ply", "usdz"], []])
def test_unknown_targets_are_refused_before_anything_is_written(
  tmp_path, targets
):
  with pytest.raises(errors.UserError, match="choose from html, ply"):
    export.export(_scene(), targets, tmp_path / "out")
  assert not (tmp_path / "out").exists()
