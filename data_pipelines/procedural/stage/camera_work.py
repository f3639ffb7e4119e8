"""Camera paths: still, handheld, pan, tilt, dolly, orbit, crane."""

import dataclasses

import numpy as np

from data_pipelines.procedural import randomness
from data_pipelines.procedural.bodies import rotations
from data_pipelines.procedural.stage import framing

_SHARES = {
  "static": 0.26,
  "handheld": 0.24,
  "pan": 0.1,
  "tilt": 0.06,
  "in": 0.09,
  "out": 0.06,
  "slide": 0.07,
  "orbit": 0.08,
  "crane": 0.04,
}
_WORDS = {
  "static": ("the camera is still", "static camera", "filmed from a tripod"),
  "handheld": ("handheld camera", "filmed by hand", "a shaky camera"),
  "in": ("the camera moves in", "the camera comes closer", "a push-in"),
  "out": ("the camera moves back", "the camera pulls out"),
  "pan left": ("the camera pans left", "panning left"),
  "pan right": ("the camera pans right", "panning right"),
  "tilt up": ("the camera tilts up", "tilting up"),
  "tilt down": ("the camera tilts down", "tilting down"),
  "slide left": ("the camera slides left", "tracking left"),
  "slide right": ("the camera slides right", "tracking right"),
  "orbit left": ("the camera circles to the left", "orbiting to the left"),
  "orbit right": ("the camera circles to the right", "orbiting to the right"),
  "crane up": ("the camera rises", "the camera goes up"),
  "crane down": ("the camera sinks", "the camera goes down"),
}
_SHAKES = np.array([0.7, 1.3, 2.3, 4.1])  # Hertz.


@dataclasses.dataclass(frozen=True)
class Work:
  """Poses [T 4 4] and what a caption may say of them."""

  poses: np.ndarray
  words: str


def _shake(rng, time, channels):
  """Returns smooth trembling that starts at zero, [T channels], about 1."""
  phases = rng.uniform(0, 2 * np.pi, (channels, _SHAKES.size))
  rates = _SHAKES * rng.uniform(0.8, 1.25, (channels, _SHAKES.size))
  turn = 2 * np.pi * rates * time[:, None, None] + phases
  return ((np.sin(turn) - np.sin(phases)) / rates).sum(axis=-1)


def _turned(rotation, poses, pivot):
  """Turns poses about a point of the stage."""
  out = poses.copy()
  out[:, :3, :3] = rotation @ poses[:, :3, :3]
  arm = poses[:, :3, 3] - pivot
  out[:, :3, 3] = pivot + (rotation @ arm[..., None])[..., 0]
  return out


def _aimed(rng, name, shot, share):
  """Returns the poses of a deliberate move and its way ("left", ...)."""
  base = np.repeat(shot.stage_from_camera[None], len(share), axis=0)
  forward = base[0, :3, 2]
  side = randomness.sign(rng)
  if name == "pan":
    turn = side * share * np.radians(rng.uniform(4, 14))
    return (
      _turned(rotations.about_y(turn), base, base[0, :3, 3]),
      "right" if side > 0 else "left",
    )
  if name == "tilt":
    turn = side * share * np.radians(rng.uniform(3, 8))
    base[:, :3, :3] = base[:, :3, :3] @ rotations.about_x(turn)
    return base, "up" if side > 0 else "down"
  if name == "orbit":
    turn = side * share * np.radians(rng.uniform(6, 22))
    pivot = base[0, :3, 3] + forward * shot.depth
    # The camera goes to the left while it turns to the right.
    return (
      _turned(rotations.about_y(turn), base, pivot),
      "left" if side > 0 else "right",
    )
  step, word = {
    "in": (forward * rng.uniform(0.1, 0.3), ""),
    "out": (-forward * rng.uniform(0.1, 0.25), ""),
    "slide": (
      side * base[0, :3, 0] * rng.uniform(0.08, 0.22),
      "right" if side > 0 else "left",
    ),
    "crane": (
      np.array([0.0, -side * rng.uniform(0.05, 0.14), 0.0]),
      "up" if side > 0 else "down",
    ),
  }[name]
  base[:, :3, 3] += share[:, None] * step * shot.depth
  return base, word


def film(
  rng: np.random.Generator,
  shot: framing.Framing,
  num_frames: int,
  seconds: float,
) -> Work:
  """Draws a camera path that starts at the shot.

  Args:
    rng: source of the path.
    shot: first pose and what the camera looks at.
    num_frames: number of poses.
    seconds: that the clip lasts; sets the pace of a trembling hand.
  """
  name = randomness.pick(rng, tuple(_SHARES), tuple(_SHARES.values()))
  time = np.linspace(0.0, 1.0, num_frames)
  share = time if rng.random() < 0.5 else time * time * (3 - 2 * time)
  poses = np.repeat(shot.stage_from_camera[None], num_frames, axis=0)
  way = ""
  if name not in ("static", "handheld"):
    poses, way = _aimed(rng, name, shot, share)
  if name == "handheld" or (name != "static" and rng.random() < 0.45):
    strength = rng.uniform(0.5, 1.0) * (1.0 if name == "handheld" else 0.4)
    tremble = strength * _shake(rng, time * seconds, 6)
    for axis, about in enumerate(
      (rotations.about_x, rotations.about_y, rotations.about_z)
    ):
      angle = np.radians(0.55) * tremble[:, axis]
      poses[:, :3, :3] = poses[:, :3, :3] @ about(angle)
    poses[:, :3, 3] += 0.006 * shot.depth * tremble[:, 3:]
  # The camera stays above the ground.
  lowest = min(-0.35 * -shot.stage_from_camera[1, 3], -0.02)
  poses[:, 1, 3] = np.minimum(poses[:, 1, 3], lowest)
  poses[0] = shot.stage_from_camera
  key = f"{name} {way}".strip()
  return Work(poses, randomness.pick(rng, _WORDS[key]))
