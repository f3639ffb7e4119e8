"""Small moves of a camera before a photograph, which has no other side."""

import numpy as np
from jaxtyping import Float
from scipy.spatial import transform

from data_pipelines.procedural import randomness

_KINDS = ("static", "static", "slide", "dolly", "pan", "handheld", "orbit")
_WORDS = {
  "static": "the camera stands still",
  "slide": "the camera moves to the {side}",
  "dolly": "the camera comes nearer",
  "pan": "the camera turns to the {side}",
  "handheld": "the camera is held in the hand",
  "orbit": "the camera moves around to the {side}",
}


def choose(
  rng: np.random.Generator, frames: int, near: float
) -> tuple[Float[np.ndarray, "T 4 4"], str]:
  """Poses in the first camera's coordinates, and words.

  Args:
    rng: chooses.
    frames: how many; the first is the identity.
    near: metres to what is nearest; moves are a part of it.
  """
  kind = randomness.pick(rng, _KINDS)
  sign = randomness.sign(rng)
  share = np.linspace(0, 1, frames)[:, None]
  place, turn = np.zeros((frames, 3)), np.zeros((frames, 3))
  size = rng.uniform(0.06, 0.16) * near
  angle = rng.uniform(0.02, 0.06)
  if kind == "slide":
    place = share * [sign * size, 0, 0]
  elif kind == "dolly":
    place = share * [0, 0, size]
  elif kind == "pan":
    turn = share * [0, sign * angle, 0]
  elif kind == "orbit":
    place = share * [sign * size, 0, 0]
    turn = -share * [0, sign * size / (2.5 * near), 0]
  elif kind == "handheld":
    phase = rng.uniform(0, 2 * np.pi, (2, 3))
    speed = rng.uniform(0.5, 2, (2, 3)) * 2 * np.pi
    shake = np.sin(speed[:, None] * share + phase[:, None])
    shake -= shake[:, :1]
    place, turn = 0.15 * size * shake[0], 0.2 * angle * shake[1]
  poses = np.tile(np.eye(4), (frames, 1, 1))
  poses[:, :3, :3] = transform.Rotation.from_rotvec(turn).as_matrix()
  poses[:, :3, 3] = place
  poses[0] = np.eye(4)
  if kind == "static":
    poses[:] = np.eye(4)
  return poses, _WORDS[kind].format(side="right" if sign > 0 else "left")
