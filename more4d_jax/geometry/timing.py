"""Which moment of a scene each frame of a film shows.

Time is separate from the camera: a film may freeze the scene, slow it down or
play it to and fro while the camera moves, and may have any number of frames.
"""

from collections.abc import Callable, Mapping

import numpy as np
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


def at_moments(
  values: Float[np.ndarray, "T *S"], when: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N *S"]:
  """Values between frames, linear in time and exact at whole frames.

  Args:
    values: one for each frame.
    when: times in frames, from 0 to T - 1.
  """
  before = np.floor(when).astype(int)
  after = np.minimum(before + 1, len(values) - 1)
  share = (when - before).reshape(-1, *[1] * (values.ndim - 1))
  share = share.astype(values.dtype)
  return values[before] * (1 - share) + values[after] * share
