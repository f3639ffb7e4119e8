"""Which moment of a scene each frame of a film shows.

Time is separate from the camera: a film may freeze the scene, slow it down or
play it to and fro while the camera moves, and may have any number of frames.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import scipy.interpolate
from jaxtyping import Float

from more4d_jax import errors


def _play(share: np.ndarray) -> np.ndarray:
  return share


def _frozen(share: np.ndarray) -> np.ndarray:
  return np.zeros_like(share)


def _slow(share: np.ndarray) -> np.ndarray:
  return 0.5 * share


def _ping_pong(share: np.ndarray) -> np.ndarray:
  return 1.0 - np.abs(2.0 * share - 1.0)


def _reverse(share: np.ndarray) -> np.ndarray:
  return 1.0 - share


# Share of the film that has passed -> share of the scene's time.
COURSES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
  "play": _play,
  "frozen": _frozen,
  "slow": _slow,
  "ping-pong": _ping_pong,
  "reverse": _reverse,
}


def moments(
  course: str, num_frames: int, scene_frames: int
) -> Float[np.ndarray, "N"]:
  """The scene's time at each frame of a film, in frames of the scene.

  Args:
    course: one of `COURSES`: "play" spreads the scene over the film, "slow"
      shows its first half, "frozen" its first frame.
    num_frames: N of the film.
    scene_frames: T of the scene.

  Returns: values from 0 to T - 1, not necessarily whole.

  Raises:
    UserError: for an unknown course or a film without frames.
  """
  if course not in COURSES:
    raise errors.UserError(
      f"expected a course of time of {', '.join(COURSES)}, found {course!r}: "
      "choose one of them"
    )
  if num_frames < 1:
    raise errors.UserError(
      f"expected a film of at least 1 frame, found {num_frames}"
    )
  share = np.arange(num_frames) / max(num_frames - 1, 1)
  return COURSES[course](share) * (scene_frames - 1)


def at_rate(
  scene_frames: int, fps: float, new_fps: float
) -> Float[np.ndarray, "N"]:
  """The scene's time at each frame of another rate, in frames of the scene.

  Args:
    scene_frames: T of the scene.
    fps: frames per second of the scene.
    new_fps: of the new frames; the first shows the scene's first frame, the
      last is not later than the scene's last.
  """
  count = math.floor((scene_frames - 1) * new_fps / fps + 1e-6) + 1
  return np.minimum(np.arange(count) * (fps / new_fps), scene_frames - 1.0)


def at_moments(
  values: Float[np.ndarray, "T *S"], when: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N *S"]:
  """Values between frames, by the cubic spline through all of them.

  Those of whole frames stay to the bit. Cubic motion is met everywhere; of
  three frames the curve is a parabola, of two a line.

  Args:
    values: one for each frame.
    when: times in frames, from 0 to T - 1.
  """
  nearest = np.rint(when).astype(int)
  found = values[nearest]
  between = np.flatnonzero(nearest != when)
  if between.size:
    every = np.arange(len(values))
    spline = scipy.interpolate.CubicSpline(every, np.eye(len(values)))
    weights = spline(when[between]).astype(np.float32)
    first = values[:1].astype(np.float32)
    steps = np.tensordot(weights, values.astype(np.float32) - first, axes=1)
    found[between] = first + steps
  return found
