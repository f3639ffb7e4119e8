import os

import numpy as np
import pytest

from more4d_jax import errors
from more4d_jax.viewing import video


def _frames(height=48, width=64, count=5):
  """A smooth picture with a moving disc: H.264 keeps it well."""
  y, x = np.mgrid[:height, :width]
  frames = np.zeros((count, height, width, 3))
  frames[..., 0], frames[..., 1] = x / width * 200, y / height * 200
  for t in range(count):
    disc = (x - 10 - 8 * t) ** 2 + (y - height / 2) ** 2 < 60
    frames[t][disc] = 220
  return frames.astype(np.uint8)


def test_a_written_video_is_read_back(tmp_path):
  frames = _frames()
  video.write_video(tmp_path / "v.mp4", frames, 12.5)
  again, fps = video.read_video(tmp_path / "v.mp4")
  assert again.shape == frames.shape
  assert fps == 12.5
  # Lossy, chroma at half size: the mean error stays at a few grey levels.
  assert np.abs(again.astype(int) - frames).mean() < 3
  assert os.listdir(tmp_path) == ["v.mp4"]
  first = (tmp_path / "v.mp4").read_bytes()
  video.write_video(tmp_path / "v.mp4", frames, 12.5)
  assert (tmp_path / "v.mp4").read_bytes() == first


def test_small_and_odd_videos(tmp_path):
  frames = _frames(33, 45, 2)
  video.write_video(tmp_path / "odd.mp4", frames, 8)
  assert video.read_video(tmp_path / "odd.mp4")[0].shape == (2, 34, 46, 3)
  video.write_video(tmp_path / "big.mp4", frames, 8, min_side=100)
  again, _ = video.read_video(tmp_path / "big.mp4")
  assert again.shape == (2, 132, 180, 3)
  centres = again[:, 2::4, 2::4].astype(int)
  assert np.abs(centres - frames).mean() < 4


def test_wrong_files_are_refused(tmp_path):
  with pytest.raises(errors.UserError, match="no such folder"):
    video.write_video(tmp_path / "none" / "v.mp4", _frames(), 8)
  with pytest.raises(errors.UserError, match="no such video file"):
    video.read_video(tmp_path / "v.mp4")
  (tmp_path / "v.mp4").write_bytes(b"not a video")
  with pytest.raises(errors.UserError, match="cannot be decoded"):
    video.read_video(tmp_path / "v.mp4")
