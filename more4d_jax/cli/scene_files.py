"""The files of one scene, and whether they are there."""

import dataclasses
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from more4d_jax import depth_sources, inputs, pictures, pipeline, preparation
from more4d_jax import scene as scene_lib
from more4d_jax.cli import (
  coverage,
  failures,
  film_flags,
  outputs,
  request_digests,
)
from more4d_jax.cli import films as films_lib
from more4d_jax.cli import jobs as jobs_lib
from more4d_jax.evaluation import scene_checks
from more4d_jax.geometry import camera_paths
from more4d_jax.viewing import export

SUMMARY = "summary.json"
SCENE = "scene.npz"
_SCENE = (SCENE, "scene.html")
_BY_CAMERA = ("coverage", "filled", "reach")  # Of a summary.
_FROM_SCENE = (
  "seed",
  "checkpoint",
  "sampler",
  "computed_steps",
  "model_grid",
  "trained_frames",
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """What all scenes of a command share; `generate` explains each field."""

  cameras: tuple[str, ...]
  film: film_flags.FilmFlags
  holes: str
  fov: float | None
  fit: inputs.Fit
  size: Any
  fps: float | None
  depth_unit: str | None
  keep: bool = False


def read(
  job: jobs_lib.Job, settings: Settings
) -> tuple[pictures.Picture, depth_sources.DepthMap | None]:
  """The picture of a job, and its depth if it has some."""
  depth = None
  if job.depth is not None:
    depth = depth_sources.from_file(job.depth, settings.depth_unit)
  return pictures.from_file(job.image), depth


def prepare(
  loaded: pipeline.Pipeline,
  jobs: Sequence[jobs_lib.Job],
  settings: Settings,
) -> Iterator[inputs.Prepared | Exception]:
  """Brings pictures and their depth to the sizes of model and scene.

  The depth network is read once for all.

  Yields: each picture in turn; the error in place of one that cannot be read
    or used, or of which a camera file sees nothing.
  """
  view = preparation.View(settings.fov, settings.fit, settings.size)
  given = [failures.attempt(read, job, settings) for job in jobs]
  readable = [one for one in given if not isinstance(one, Exception)]
  prepared = failures.each(
    lambda some: loaded.prepare_pictures(some, view), readable
  )
  for one in given:
    found = one if isinstance(one, Exception) else next(prepared)
    if not isinstance(found, Exception):
      found = failures.attempt(_checked, found, loaded, settings)
    yield found


def _checked(
  prepared: inputs.Prepared, loaded: pipeline.Pipeline, settings: Settings
) -> inputs.Prepared:
  """A picture of which every camera file sees something."""
  film, count = settings.film, len(loaded.moments(settings.fps))
  for name in settings.cameras:
    if name not in camera_paths.NAMES and not film.allow_empty:
      coverage.check_before(prepared, name, count, resample=film.resample_path)
  return prepared


def files(settings: Settings) -> list[str]:
  """Names of the files of each scene, without those of `kept_files`."""
  films = [file for name in settings.cameras for file in _films(name)]
  return [*_SCENE, *films, SUMMARY]


def _films(name: str) -> list[str]:
  """Names of the files of one camera path."""
  label = camera_paths.label(name)
  return [f"{label}{suffix}.mp4" for suffix in ("", "_points")]


def has_scene(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  settings: Settings,
  folder: pathlib.Path,
) -> bool:
  """Whether a folder holds the scene that these settings make of a picture."""
  summary = outputs.read_json(folder / SUMMARY)
  return summary.get("request") == _request(loaded, job, settings) and all(
    (folder / name).is_file() for name in _SCENE
  )


def missing_films(settings: Settings, folder: pathlib.Path) -> list[str]:
  """Camera paths whose films are not in the folder of a scene."""
  failed = outputs.read_json(folder / SUMMARY).get("failed", {})
  return [
    name
    for name in settings.cameras
    if name in failed
    or not all((folder / file).is_file() for file in _films(name))
  ]


def is_finished(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  settings: Settings,
  folder: pathlib.Path,
) -> bool:
  """Whether a folder holds all that these settings make of this picture."""
  there = has_scene(loaded, job, settings, folder)
  return there and not missing_films(settings, folder)


def _request(
  loaded: pipeline.Pipeline, job: jobs_lib.Job, settings: Settings
) -> str:
  """A digest of all that a scene follows from."""
  cameras = [pathlib.Path(name) for name in settings.cameras]
  return request_digests.digest(
    loaded.networks,
    [job.prompt, job.negative_prompt, job.seed, repr(settings)],
    [job.image, *([job.depth] if job.depth else []), *cameras],
  )


def write_scene(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  prepared: inputs.Prepared,
  settings: Settings,
  scene: scene_lib.Scene,
  target: pathlib.Path,
  started: float,
) -> None:
  """Writes all files of a scene but its films.

  Args:
    loaded: the networks that made it.
    job: picture and prompt.
    prepared: the picture.
    settings: what scenes share.
    scene: what was made.
    target: folder that is filled.
    started: when the pictures of its batch were begun.
  """
  checks = scene_checks.scene_checks(scene.tracks, scene.intrinsics)
  scene.save(target / SCENE, compact=True)
  export.export(scene.on_surfaces(), ["html"], target)
  summary = {
    **checks,
    "image": str(job.image),
    "prompt": job.prompt,
    "negative_prompt": job.negative_prompt,
    "depth": str(job.depth) if job.depth else "estimated",
    "invalid_depth_values": prepared.invalid_depth,
    "median_depth": float(np.median(scene.tracks[0, ..., 2])),
    "intrinsics": scene.intrinsics.tolist(),
    "frames": scene.num_frames,
    "size": list(scene.size),
    "fps": scene.fps,
    **{part: {} for part in _BY_CAMERA},
    "failed": dict.fromkeys(settings.cameras, "not filmed yet"),
    "request": _request(loaded, job, settings),
    "loras": loaded.networks.loras,
    **{name: scene.metadata[name] for name in _FROM_SCENE},
    "seconds": round(time.monotonic() - started, 2),
  }
  outputs.write_json(target / SUMMARY, summary)
  for name, value in checks.items():
    print(f"  {name:<20}{value}", flush=True)


def note_films(found: films_lib.Films, target: pathlib.Path) -> None:
  """Adds to a scene's summary what became of films.

  Args:
    found: films that were made now, or failed; others are as before.
    target: folder of the scene.
  """
  summary = outputs.read_json(target / SUMMARY)
  for part in _BY_CAMERA:
    made = getattr(found, part)
    summary[part] |= {name: made[name] for name in found.filled}
  failed = summary["failed"] | found.failed
  summary["failed"] = {
    name: why for name, why in failed.items() if name not in found.filled
  }
  outputs.write_json(target / SUMMARY, summary)
