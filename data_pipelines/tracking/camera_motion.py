"""The camera's motion, from tracks of what stands still.

Points of the first frame, at its depth, and where they are seen later give the
pose of each frame (perspective from n points). Most of what is seen is taken
to be the background: the largest part that one rigid motion explains.
"""

import numpy as np
from jaxtyping import Bool, Float

from data_pipelines import libraries
from data_pipelines.importers import geometry

_NEAR = 1 / 256  # Of the width: how far off a point of the background may be,
_NEAREST = 1.0  # and at least this many pixels.
_LEAST_SHARE = 0.4  # Of what is seen; with less, nobody knows what stands.
_LEAST_POINTS = 12
_MOST_POINTS = 4000  # Of a frame; more do not make it better.
_STANDS = 0.95  # Of the background, that no motion explains: the camera stands.
_TRIES, _CONFIDENCE = 500, 0.9999  # Of the search for the background.
_REFINEMENTS = 3
_USUAL = 3.0  # Times the median error: what a pose is refined with,
_EXACT = 0.1  # and at least this share of what counts as near.


def estimate(
  points: Float[np.ndarray, "N 3"],
  positions: Float[np.ndarray, "T N 2"],
  visible: Bool[np.ndarray, "T N"],
  intrinsics: Float[np.ndarray, "4"],
  width: int,
) -> Float[np.ndarray, "T 4 4"] | None:
  """Poses, world from camera; the world is that of the first frame.

  Args:
    points: in the first camera, in metres; NaN where the depth is unknown.
    positions: of the points, in pixels.
    visible: whether they are seen.
    intrinsics: fx, fy, cx, cy in pixels.
    width: of the picture in pixels.

  Returns: identities where the camera stands; None if the motion cannot be
    found, as too little of the picture agrees on one.

  Raises:
    UserError: OpenCV is not installed.
  """
  cv2 = libraries.module(
    "cv2", "the camera's motion", "pip install 'more4d_jax[track]'"
  )
  near = max(_NEAR * width, _NEAREST)
  still = pose = np.eye(4)
  poses, stands = [pose], True
  known = np.isfinite(points).all(-1) & (points[:, 2] > 0)
  for now, seen in zip(positions[1:], visible[1:], strict=True):
    chosen = np.flatnonzero(known & seen & np.isfinite(now).all(-1))
    chosen = chosen[:: -(-len(chosen) // _MOST_POINTS) or 1]
    if len(chosen) < _LEAST_POINTS:
      return None
    view = _View(cv2, points[chosen], now[chosen], intrinsics, near)
    pose = max((still, pose, *view.searched()), key=view.explains)
    for _ in range(_REFINEMENTS):
      pose = view.refined(pose)
    share = view.explains(pose)
    if share < _LEAST_SHARE:
      return None
    stands &= view.explains(still) >= _STANDS * share
    poses.append(pose)
  if stands:
    return np.tile(still, (len(poses), 1, 1))
  return geometry.inverse(np.stack(poses))


class _View:
  """Points of the world and where a frame shows them; poses are its own."""

  def __init__(
    self,
    cv2,
    points: Float[np.ndarray, "K 3"],
    positions: Float[np.ndarray, "K 2"],
    intrinsics: Float[np.ndarray, "4"],
    near: float,
  ):
    """Takes pixels; what is off by less than `near` is explained."""
    self._cv2, self._points, self._positions = cv2, points, positions
    self._intrinsics, self._near = intrinsics, near
    focal_x, focal_y, x, y = intrinsics
    self._matrix = np.array([[focal_x, 0, x], [0, focal_y, y], [0, 0, 1.0]])

  def _errors(self, pose: Float[np.ndarray, "4 4"]) -> np.ndarray:
    """How far each point is off, in pixels; infinite behind the camera."""
    own = geometry.transform(self._points[None], pose[None])
    (found,) = geometry.project(own, self._intrinsics)
    off = np.linalg.norm(found - self._positions, axis=-1)
    return np.where(own[0, :, 2] > 0, off, np.inf)

  def explains(self, pose: Float[np.ndarray, "4 4"]) -> float:
    """Share of the points that lie where the pose (camera from world) says."""
    return float((self._errors(pose) < self._near).mean())

  def searched(self) -> list[Float[np.ndarray, "4 4"]]:
    """The pose of most points that agree, if there is one."""
    good, turn, shift, _ = self._cv2.solvePnPRansac(
      self._points,
      self._positions,
      self._matrix,
      None,
      iterationsCount=_TRIES,
      reprojectionError=self._near,
      confidence=_CONFIDENCE,
      flags=self._cv2.SOLVEPNP_AP3P,
    )
    return [self._pose(turn, shift)] if good else []

  def refined(self, pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The pose nearest by that fits what it explains best."""
    off = self._errors(pose)
    explained = off < self._near
    if explained.sum() < 2 * _LEAST_POINTS:
      return pose
    usual = _USUAL * np.median(off[explained])
    ground = off < np.clip(usual, _EXACT * self._near, self._near)
    turn, _ = self._cv2.Rodrigues(pose[:3, :3])
    turn, shift = self._cv2.solvePnPRefineLM(
      self._points[ground],
      self._positions[ground],
      self._matrix,
      None,
      turn,
      pose[:3, 3:].copy(),  # Of one axis it would not be written to.
    )
    return self._pose(turn, shift)

  def _pose(self, turn, shift) -> Float[np.ndarray, "4 4"]:
    rotation, _ = self._cv2.Rodrigues(turn)
    return geometry.rigid(rotation[None], shift.reshape(1, 3))[0]
