"""Flags that say how a scene is filmed, shared by subcommands."""

import dataclasses
from typing import Literal

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.geometry import camera_paths, path_reach, timing


@dataclasses.dataclass(frozen=True)
class FilmFlags:
  """How a scene is filmed.

  Attributes:
    reach: share of a named camera path's motion, 1 for all of it; when left
      out, the largest up to 1 at which about 70 percent of every frame stays
      covered. Camera files are never changed.
    time: how the scene's time passes: all of it, its first frame frozen, half
      as fast, to its end and back, or backwards.
    resample_path: brings a camera file with another number of poses to the
      number of frames, evenly along its path.
    allow_empty: films a path that sees nothing of the scene.
  """

  reach: float | None = None
  time: Literal["play", "frozen", "slow", "ping-pong", "reverse"] = "play"
  resample_path: bool = False
  allow_empty: bool = False


DEFAULT = FilmFlags()


def check(flags: FilmFlags) -> None:
  """Raises UserError unless the reach is a number from 0 to 2."""
  if flags.reach is not None and not 0 <= flags.reach <= 2:
    raise errors.UserError(
      f"expected --reach of 0 to 2, found --reach {flags.reach}"
    )


def timed(
  scene: scene_lib.Scene, flags: FilmFlags, frames: int = 0
) -> scene_lib.Scene:
  """The scene as its time passes in the film.

  Args:
    scene: to film.
    flags: of the film.
    frames: of the film; 0 for as many as the scene has.
  """
  count = frames or scene.num_frames
  if flags.time == "play" and count == scene.num_frames:
    return scene
  return scene.at(timing.moments(flags.time, count, scene.num_frames))


def planned(
  scene: scene_lib.Scene, name: str, flags: FilmFlags
) -> tuple[camera_paths.CameraPath, float]:
  """The camera path of a film, and the reach that it has.

  A named path that would see too little of the scene is shortened, and a line
  says so.

  Args:
    scene: as `timed` gives it.
    name: of a path, or a camera file.
    flags: of the film.
  """
  if name not in camera_paths.NAMES:
    return scene.camera_path(name, resample=flags.resample_path), 1.0
  reach = flags.reach
  if reach is None:
    reach = path_reach.largest_reach(name, scene.tracks, scene.intrinsics)
    if reach < 1:
      print(
        f"{name}: moves {100 * reach:.0f} % of its way, so that the scene "
        "still fills the picture; --reach 1 films all of it",
        flush=True,
      )
  return scene.camera_path(name, reach), reach
