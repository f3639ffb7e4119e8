import numpy as np
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


def test_html_target_writes_the_page(tmp_path):
  written = export.export(_scene(), ["html"], tmp_path)
  assert (tmp_path / "scene.html").read_text().startswith("<!doctype html>")
  assert written["html"] == str(tmp_path / "scene.html")


@pytest.mark.parametrize("targets", [["glb"], ["ply", "glb"], []])
def test_unknown_targets_are_refused_before_anything_is_written(
  tmp_path, targets
):
  with pytest.raises(errors.UserError, match="choose from html, ply"):
    export.export(_scene(), targets, tmp_path / "out")
  assert not (tmp_path / "out").exists()
