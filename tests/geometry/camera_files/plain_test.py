"""Key frames in camera files of ours."""

import json

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.geometry import camera_paths
from more4d_jax.geometry.camera_files import formats

_CENTRE = np.asarray([0.3, -0.2, 4.0], np.float32)


def _write(file, frames, **more):
  poses = camera_paths.named_path("surrounding", 3, _CENTRE)
  fields = {"convention": "opencv", "world_from_camera": poses.tolist()}
  file.write_text(json.dumps({**fields, "key_frames": frames, **more}))
  return poses


def test_a_path_goes_through_its_key_frames(tmp_path):
  lens = [[60, 60, 32, 24], [60, 60, 32, 24], [90, 90, 32, 24]]
  poses = _write(tmp_path / "p.json", [0, 3, 8], intrinsics=lens)
  found = formats.load(tmp_path / "p.json")
  assert len(found.world_from_camera) == 9
  np.testing.assert_allclose(
    found.world_from_camera[[0, 3, 8]], poses, atol=1e-6
  )
  np.testing.assert_allclose(found.intrinsics[[0, 3, 8]], lens, rtol=1e-6)
  assert 60 < found.intrinsics[6, 0] < 90
  path = camera_paths.find(str(tmp_path / "p.json"), 9, _CENTRE)
  assert len(path.world_from_camera) == 9


@pytest.mark.parametrize(
  "frames", [[0, 8], [0, 8, 8], [0.5, 1, 2], [-1, 2, 3], "abc", [0, 1, 10**9]]
)
def test_wrong_key_frames_are_one_line(tmp_path, frames):
  _write(tmp_path / "p.json", frames)
  with pytest.raises(
    errors.UserError, match="key_frames must be increasing whole"
  ):
    formats.load(tmp_path / "p.json")
