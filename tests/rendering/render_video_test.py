import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

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


@pytest.mark.parametrize("scale", [2, 3, 11])
def test_larger_videos_are_complete_enlargements(scale):
  tracks, colours, intrinsics = _scene(frames=1)
  tracks = tracks * 0 + np.asarray(
    cameras.unproject(jnp.full((1, *_SIZE), 2.0), jnp.asarray(intrinsics)[None])
  )
  video, coverage = render_video.render_video(
    tracks.astype(np.float32),
    colours,
    _poses("static", tracks),
    intrinsics,
    render_video.RenderOptions(_SIZE[0] * scale, _SIZE[1] * scale),
  )
  assert coverage.all()
  # Colours are interpolated between the points, as resizing a picture does.
  y, x = (np.arange(n * scale) for n in _SIZE)
  y, x = ((v + 0.5) / scale - 0.5 for v in (y, x))
  expected = [
    scipy.ndimage.map_coordinates(
      colours[..., i].astype(np.float32),
      np.meshgrid(y, x, indexing="ij"),
      order=1,
      mode="nearest",
    )
    for i in range(3)
  ]
  # Rounded to whole numbers.
  np.testing.assert_allclose(video[0], np.stack(expected, -1), atol=0.51)


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
  zoomed = np.stack([intrinsics, intrinsics * [3, 3, 1, 1]])
  video, _ = render_video.render_video(
    np.repeat(tracks[:1], 2, axis=0),
    colours,
    _poses("static", tracks),
    intrinsics,
    camera_intrinsics=zoomed.astype(np.float32),
  )
  np.testing.assert_array_equal(video[0], colours)
  # Every third pixel is the middle of a point of the picture's middle third.
  np.testing.assert_array_equal(video[1][1::3, 0::3], colours[4:8, 5:11])


def test_nothing_in_front_of_the_camera_is_a_picture_of_holes():
  tracks, colours, intrinsics = _scene(frames=1)
  away = np.diag([-1.0, 1.0, -1.0, 1.0]).astype(np.float32)[None]
  video, coverage = render_video.render_video(tracks, colours, away, intrinsics)
  assert not coverage.any() and not video.any()


def test_surfaces_that_move_apart_are_not_joined():
  depth = jnp.full((1, *_SIZE), 2.0)
  intrinsics = cameras.default_intrinsics(*_SIZE)
  first = np.asarray(cameras.unproject(depth, intrinsics[None]))[0]
  second = first.copy()
  second[:, 8:, 0] += 4 * 2.0 / float(intrinsics[0])  # Four pixels.
  _, coverage = render_video.render_video(
    np.stack([first, second]),
    np.full((*_SIZE, 3), 200, np.uint8),
    np.repeat(np.eye(4, dtype=np.float32)[None], 2, axis=0),
    np.asarray(intrinsics),
  )
  assert coverage[0].all()
  expected = np.ones(_SIZE, bool)
  expected[:, 8:12] = False
  np.testing.assert_array_equal(coverage[1], expected)


def test_float_colours_equal_bytes():
  tracks, colours, intrinsics = _scene()
  poses = _poses("circular", tracks)
  one, _ = render_video.render_video(tracks, colours, poses, intrinsics)
  two, _ = render_video.render_video(
    tracks, colours.astype(np.float32) / 255, poses, intrinsics
  )
  np.testing.assert_array_equal(one, two)
