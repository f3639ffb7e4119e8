import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.geometry import camera_paths, cameras
from more4d_jax.rendering import render_video

_SIZE = (12, 16)


def _scene(frames=3, seed=0):
  """A bumpy surface that drifts to the right, with a nearer square."""
  rng = np.random.default_rng(seed)
  depth = rng.uniform(3.0, 3.3, _SIZE)
  depth[4:8, 5:10] = 1.5
  intrinsics = cameras.default_intrinsics(*_SIZE)
  first = np.asarray(
    cameras.unproject(jnp.asarray(depth, jnp.float32)[None], intrinsics[None])
  )[0]
  steps = np.arange(frames)[:, None, None, None] * [0.05, 0.0, 0.0]
  tracks = (first[None] + steps).astype(np.float32)
  colours = rng.integers(0, 256, (*_SIZE, 3), dtype=np.uint8)
  colours[0, 0] = 0  # A black point is not a hole.
  return tracks, colours, np.asarray(intrinsics)


def _poses(name, tracks):
  centre = camera_paths.scene_centre(tracks[0])
  return camera_paths.named_path(name, len(tracks), centre)


@pytest.mark.parametrize("splat", [0.0, 0.5, 0.7, 0.9])
def test_the_first_camera_sees_the_picture_itself(splat):
  tracks, colours, intrinsics = _scene()
  video, coverage = render_video.render_video(
    tracks,
    colours,
    _poses("static", tracks),
    intrinsics,
    render_video.RenderOptions(splat=splat),
  )
  np.testing.assert_array_equal(video[0], colours)
  assert coverage[0].all()


def test_a_moving_scene_uncovers_and_covers():
  tracks, colours, intrinsics = _scene(frames=5)
  video, coverage = render_video.render_video(
    tracks,
    colours,
    _poses("static", tracks),
    intrinsics,
    render_video.RenderOptions(splat=0.0),
  )
  assert not coverage[-1][:, 0].any()  # Nothing comes in from the left.
  assert coverage[-1].mean() > 0.7
  assert (video[~coverage] == 0).all()


@pytest.mark.parametrize(
  ("scale", "options"), [(2, {}), (3, {"max_radius": 3})]
)
def test_larger_videos_are_complete_enlargements(scale, options):
  tracks, colours, intrinsics = _scene(frames=1)
  tracks = tracks * 0 + np.asarray(
    cameras.unproject(jnp.full((1, *_SIZE), 2.0), jnp.asarray(intrinsics)[None])
  )
  video, coverage = render_video.render_video(
    tracks.astype(np.float32),
    colours,
    _poses("static", tracks),
    intrinsics,
    render_video.RenderOptions(_SIZE[0] * scale, _SIZE[1] * scale, **options),
  )
  assert coverage.all()
  if scale == 3:
    # The middle of every 3x3 block is where the point itself falls; equal
    # depths mix at the seams only.
    middle = video[0, 1::3, 1::3].astype(int)
    assert np.abs(middle - colours).max() <= 1


def test_smaller_videos_have_no_holes():
  tracks, colours, intrinsics = _scene(frames=1)
  video, coverage = render_video.render_video(
    tracks,
    colours,
    _poses("static", tracks),
    intrinsics,
    render_video.RenderOptions(6, 8),
  )
  assert video.shape == (1, 6, 8, 3)
  assert coverage.all()


@pytest.mark.parametrize("name", ["forward", "orbit_left_90"])
def test_footprints_close_cracks(name):
  tracks, colours, intrinsics = _scene(frames=5)
  tracks = np.repeat(tracks[:1], 5, axis=0)
  shares = []
  for splat in (0.0, 0.7):
    _, coverage = render_video.render_video(
      tracks,
      colours,
      _poses(name, tracks),
      intrinsics,
      render_video.RenderOptions(splat=splat),
    )
    shares.append(coverage.mean(axis=(1, 2)))
  assert (shares[1] >= shares[0]).all()
  if name == "forward":
    assert shares[0][-1] < 0.9
    assert shares[1].min() > 0.97


def test_intrinsics_of_the_path_zoom():
  tracks, colours, intrinsics = _scene(frames=2)
  zoomed = np.stack([intrinsics, intrinsics * [2, 2, 1, 1]])
  video, _ = render_video.render_video(
    np.repeat(tracks[:1], 2, axis=0),
    colours,
    _poses("static", tracks),
    intrinsics,
    camera_intrinsics=zoomed.astype(np.float32),
  )
  np.testing.assert_array_equal(video[0], colours)
  # Twice the focal length shows the middle half: rows 3 to 8 of 12.
  rows = np.arange(12) // 2 + 3
  columns = np.arange(16) // 2 + 4
  flat = colours[rows][:, columns]
  assert (video[1] == flat).all(-1).mean() > 0.5


def test_float_colours_equal_bytes():
  tracks, colours, intrinsics = _scene()
  poses = _poses("circular", tracks)
  one, _ = render_video.render_video(tracks, colours, poses, intrinsics)
  two, _ = render_video.render_video(
    tracks, colours.astype(np.float32) / 255, poses, intrinsics
  )
  np.testing.assert_array_equal(one, two)
