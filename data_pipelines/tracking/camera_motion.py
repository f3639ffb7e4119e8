"""The camera's motion, from tracks of what stands still.

Points of the first frame, at its depth, and where they are seen later give the
pose of each frame (perspective from n points). Most of what is seen is taken
to be the background: the largest part that one rigid motion explains.
"""

import numpy as np
from jaxtyping import Bool, Float

from data_pipelines import libraries
from data_pipelines.importers import geometry

_NEAR = 1 / 256  # Of the width: how far off a point of the background may be.
_LEAST_SHARE = 0.4  # Of what is seen; with less, nobody knows what stands.
_LEAST_POINTS = 12
_MOST_POINTS = 4000  # Of a frame; more do not make it better.
_STILL = 0.98  # Of the background, that is where it was: the camera stands.
_TRIES, _CONFIDENCE = 500, 0.9999  # Of the search for the background.


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
  focal_x, focal_y, x, y = intrinsics
  matrix = np.array([[focal_x, 0, x], [0, focal_y, y], [0, 0, 1.0]])
  near = _NEAR * width
  unmoved = geometry.project(points[None], intrinsics)[0]
  known = np.isfinite(unmoved).all(-1) & (points[:, 2] > 0)
  turn, shift, stands = np.zeros(3), np.zeros(3), True
  poses = [np.eye(4)]
  for now, seen in zip(positions[1:], visible[1:], strict=True):
    chosen = np.flatnonzero(known & seen & np.isfinite(now).all(-1))
    chosen = chosen[:: -(-len(chosen) // _MOST_POINTS) or 1]
    if len(chosen) < _LEAST_POINTS:
      return None
    good, turn, shift, agree = cv2.solvePnPRansac(
      points[chosen],
      now[chosen],
      matrix,
      None,
      turn,
      shift,
      useExtrinsicGuess=True,
      iterationsCount=_TRIES,
      reprojectionError=near,
      confidence=_CONFIDENCE,
    )
    if not good or len(agree) < _LEAST_SHARE * len(chosen):
      return None
    ground = chosen[agree[:, 0]]
    turn, shift = cv2.solvePnPRefineLM(
      points[ground], now[ground], matrix, None, turn, shift
    )
    moved = np.linalg.norm(unmoved[ground] - now[ground], axis=-1)
    stands &= bool((moved < near).mean() > _STILL)
    rotation, _ = cv2.Rodrigues(turn)
    poses.append(geometry.rigid(rotation[None], shift.reshape(1, 3))[0])
  if stands:
    return np.tile(np.eye(4), (len(poses), 1, 1))
  return geometry.inverse(np.stack(poses))
