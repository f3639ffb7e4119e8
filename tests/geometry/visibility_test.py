"""Visibility of hand-made scenes."""

import jax.numpy as jnp
import numpy as np

from more4d_jax.geometry import cameras, visibility

_INTRINSICS = jnp.asarray([20.0, 20.0, 12.0, 8.0])


def _scene(frames=4):
  """A near square that slides to the right over a far wall."""
  depth = np.full((1, 16, 24), 4.0, np.float32)
  depth[0, 6:10, 4:8] = 2.0
  first = np.asarray(cameras.unproject(jnp.asarray(depth), _INTRINSICS[None]))
  tracks = np.repeat(first, frames, axis=0)
  for t in range(frames):
    tracks[t, 6:10, 4:8, 0] += 2.0 * 3 * t / 20  # Three pixels a frame.
  return tracks


def test_a_sliding_square_hides_the_wall_behind_it():
  tracks = _scene()
  seen = np.asarray(visibility.visible_points(jnp.asarray(tracks), _INTRINSICS))
  assert seen[0].all()
  for t in range(1, 4):
    expected = np.ones((16, 24), bool)
    expected[6:10, 4 + 3 * t : 8 + 3 * t] = False
    expected[6:10, 4:8] = True  # The square itself, at its own pixels.
    np.testing.assert_array_equal(seen[t], expected)


def test_points_outside_and_behind_are_not_seen():
  tracks = _scene()
  tracks[2, 0, 0] = [0, 0, -3]
  tracks[2, 0, 1] = [50, 0, 4]
  tracks[3, 0, 2] = np.nan
  seen = np.asarray(visibility.visible_points(jnp.asarray(tracks), _INTRINSICS))
  assert not seen[2, 0, 0] and not seen[2, 0, 1] and not seen[3, 0, 2]
