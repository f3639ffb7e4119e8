"""Films without tracks: depth and tracks are estimated, by what a user names.

  NAME.mp4 (.mov, .mkv, .webm, .avi)   the film
  NAME.depth.npy    [T H W] depth of all its frames in metres, unless a depth
                    function or network is named
  NAME.txt          the caption, perhaps

A film is cut into clips of neighbouring frames, one scene each. Points are in
the coordinates of each frame's camera, whose motion is estimated if asked for.
"""

import functools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, UInt8

from data_pipelines.importers import lifting, media, source_files
from data_pipelines.importers import scene as scene_lib
from data_pipelines.photos import depth_maps
from data_pipelines.tracking import camera_motion, trackers
from more4d_jax import depth_sources, errors, plausibility

ABOUT = f"films ({' '.join(media.VIDEO_SUFFIXES)}); see more4d data track"
CAMERAS = ("unknown", "estimated")
_MULTIPLE = 16  # Rows and columns of a grid that every network takes.

Maps = Callable[
  [UInt8[np.ndarray, "T H W 3"], range],
  tuple[Float[np.ndarray, "T H W"], Float[np.ndarray, "4"] | None],
]
"""Frames and their numbers -> depth, and intrinsics if they are known."""


def units(paths: list[str]) -> list[tuple[str, ...]]:
  """Films, named or below named folders."""
  chosen = source_files.files(paths, media.VIDEO_SUFFIXES)
  return list(zip(map(str, chosen), source_files.labels(chosen)))


def found(
  unit: tuple[str, ...], settings: scene_lib.Settings
) -> Iterator[scene_lib.Found]:
  """The clips of one film."""
  path, name = pathlib.Path(unit[0]), unit[1]
  tracking = settings.tracking
  clips = media.clips(
    path,
    length=tracking.frames,
    fps=tracking.fps,
    size_of=functools.partial(
      grid_size, most=(tracking.height, tracking.width)
    ),
  )
  for clip in clips:
    label = f"{name}-{clip.numbers[0]:06d}"
    read = functools.partial(_scene, path, label, clip, tracking)
    yield scene_lib.Found(label, read)


def check(tracking: scene_lib.Tracking) -> None:
  """Finds what is named, before a film is opened.

  Raises:
    UserError: no such tracker or depth, or a number that makes no sense.
  """
  trackers.find(tracking.tracker, tracking.weights)
  if tracking.depth is not None:
    depth_maps.provider(tracking.depth)
  plausibility.frame_rate(tracking.fps, "--fps")
  if tracking.cameras not in CAMERAS:
    raise errors.UserError(
      f"--cameras is {tracking.cameras!r}; expected {' or '.join(CAMERAS)}"
    )
  if not 1 < tracking.fov < 179:
    raise errors.UserError(
      f"--fov is {tracking.fov}; expected an angle of 1 to 179 degrees"
    )
  for name in ("height", "width"):
    if getattr(tracking, name) < _MULTIPLE:
      raise errors.UserError(
        f"--{name} is {getattr(tracking, name)}; expected at least {_MULTIPLE}"
      )


def grid_size(size: tuple[int, int], most: tuple[int, int]) -> tuple[int, int]:
  """Rows and columns of a film's grid, about its aspect and within a limit."""
  scale = min(1.0, *(limit / length for limit, length in zip(most, size)))
  return tuple(
    max(_MULTIPLE, int(length * scale) // _MULTIPLE * _MULTIPLE)
    for length in size
  )


def _scene(
  path: pathlib.Path, name: str, clip: media.Clip, tracking: scene_lib.Tracking
) -> scene_lib.Scene:
  film = clip.frames
  maps, intrinsics = _depth(path, tracking)(film, clip.numbers)
  if intrinsics is None:
    intrinsics = _camera(film.shape[1:3], tracking.fov)
  tracker = trackers.find(tracking.tracker, tracking.weights)
  positions, visible = tracker(film)
  flat = (len(film), -1)
  points = lifting.lift(
    positions.reshape(*flat, 2),
    visible.reshape(flat),
    maps,
    intrinsics,
    everywhere=True,
  )
  notes = ()
  if tracking.tracker == trackers.BASELINE:
    notes = ("tracks are chained optical flow, a baseline",)
  poses = None
  if tracking.cameras == "estimated":
    poses = camera_motion.estimate(
      points[0],
      positions.reshape(*flat, 2),
      visible.reshape(flat),
      intrinsics,
      film.shape[2],
    )
    if poses is None:
      notes += ("too little of it stands still to find the camera's motion",)
  return scene_lib.Scene(
    name=name,
    caption=source_files.caption(path.with_suffix(".txt")) or "",
    source=path.name,
    licence="unknown",
    fps=clip.fps,
    frame_numbers=np.asarray(clip.numbers),
    frames=scene_lib.held(film),
    depth=scene_lib.held(maps),
    tracks=points,
    visible=visible.reshape(flat),
    size=film.shape[1:3],
    grid=film.shape[1:3],
    intrinsics=intrinsics,
    axes="camera",
    world_from_camera=poses,
    cameras="unknown" if poses is None else "estimated",
    notes=notes,
  )


def _depth(path: pathlib.Path, tracking: scene_lib.Tracking) -> Maps:
  if tracking.depth is None:
    return functools.partial(_maps_of_file, path.with_suffix(".depth.npy"))
  provider = depth_maps.provider(tracking.depth)

  def ask(film, numbers):
    del numbers
    try:
      answers = [provider(frame, path, path.parent) for frame in film]
    except errors.UserError as error:
      raise scene_lib.Refused(str(error)) from error
    maps = np.stack([_masked(answer) for answer in answers])
    size, camera = film.shape[1:3], answers[0].intrinsics
    if camera is not None:
      scale = np.divide(size[::-1], maps.shape[:0:-1])
      camera = np.asarray(camera, np.float64) * np.tile(scale, 2)
    return media.nearest(maps, size).astype(np.float64), camera

  return ask


def _maps_of_file(
  file: pathlib.Path, film: UInt8[np.ndarray, "T H W 3"], numbers: range
) -> tuple[np.ndarray, None]:
  if not file.is_file():
    raise scene_lib.Refused(
      f"no {file.name} beside it; name --depth: {depth_maps.HELP}"
    )
  maps = np.load(file, mmap_mode="r", allow_pickle=False)
  if maps.ndim != 3 or len(maps) <= numbers[-1]:
    raise scene_lib.Refused(
      f"{file.name} is {maps.shape}; expected [T H W] with more than "
      f"{numbers[-1]} frames"
    )
  part = np.asarray(maps[list(numbers)], np.float64)
  return media.nearest(part, film.shape[1:3]), None


def _masked(found: depth_sources.DepthMap) -> Float[np.ndarray, "H W"]:
  return np.where(found.valid, found.depth, np.nan)


def _camera(size: tuple[int, int], fov: float) -> Float[np.ndarray, "4"]:
  height, width = size
  focal = width / 2 / np.tan(np.radians(fov) / 2)
  return np.array([focal, focal, width / 2, height / 2])
