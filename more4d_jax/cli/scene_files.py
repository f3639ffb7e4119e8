"""All files of one scene: made, filmed and summed up."""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

from more4d_jax import depth_sources, inputs, pictures, pipeline
from more4d_jax.cli import (
  coverage,
  film_flags,
  kept_files,
  outputs,
  request_digests,
)
from more4d_jax.cli import films as films_lib
from more4d_jax.cli import jobs as jobs_lib
from more4d_jax.evaluation import scene_checks
from more4d_jax.geometry import camera_paths
from more4d_jax.viewing import export

SUMMARY = "summary.json"
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
  loaded: pipeline.Pipeline, job: jobs_lib.Job, settings: Settings
) -> inputs.Prepared:
  """Brings a picture and its depth to the sizes of model and scene.

  Raises:
    UserError: if they cannot be used, or a camera file sees nothing of them.
  """
  prepared = loaded.prepare_picture(
    *read(job, settings), settings.fov, settings.fit, settings.size
  )
  film, count = settings.film, len(loaded.moments(settings.fps))
  for name in settings.cameras:
    if name not in camera_paths.NAMES and not film.allow_empty:
      coverage.check_before(prepared, name, count, resample=film.resample_path)
  return prepared


def files(settings: Settings) -> list[str]:
  """Names of the files of each scene, without those of `kept_files`."""
  films = [
    f"{camera_paths.label(name)}{suffix}.mp4"
    for name in settings.cameras
    for suffix in ("", "_points")
  ]
  return ["scene.npz", "scene.html", *films, SUMMARY]


def is_finished(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  settings: Settings,
  folder: pathlib.Path,
) -> bool:
  """Whether a folder holds what these settings make of this picture."""
  summary = outputs.read_json(folder / SUMMARY)
  wanted = _request(loaded, job, settings)
  return (
    summary.get("request") == wanted
    and not summary.get("failed")
    and all((folder / name).is_file() for name in files(settings))
  )


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


def make(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  prepared: inputs.Prepared,
  settings: Settings,
  target: pathlib.Path,
) -> dict[str, str]:
  """Makes all files of one scene.

  Args:
    loaded: the networks.
    job: picture and prompt.
    prepared: the picture, see `prepare`.
    settings: what scenes share.
    target: folder that is filled.

  Returns: camera paths whose films failed, and why.
  """
  if not settings.keep:
    return _make(loaded, job, prepared, settings, target)
  kept = kept_files.Kept(target / kept_files.FOLDER, job)
  kept.picture(prepared)
  with loaded.generator.keeping(kept):
    return _make(loaded, job, prepared, settings, target, kept)


def _make(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  prepared: inputs.Prepared,
  settings: Settings,
  target: pathlib.Path,
  kept: kept_files.Kept | None = None,
) -> dict[str, str]:
  """Makes all files of one scene but those that `kept` writes."""
  started = time.monotonic()
  if prepared.invalid_depth:
    print(
      f"{job.depth}: {prepared.invalid_depth} invalid depth values became the "
      "median of the others",
      flush=True,
    )
  print(f"{job.name}: {job.prompt or 'no caption'!r}", flush=True)
  scene = loaded.scene(
    prepared, job.prompt, job.seed, settings.fps, job.negative_prompt
  )
  checks = scene_checks.scene_checks(scene.tracks, scene.intrinsics)
  films_lib.say("trajectories", started)
  scene.save(target / "scene.npz", compact=True)
  export.export(scene.on_surfaces(), ["html"], target)
  films_lib.say("scene.npz and scene.html", started)
  films = films_lib.make(
    loaded,
    scene,
    settings.cameras,
    dataclasses.replace(_film_settings(job, settings, loaded), kept=kept),
    target,
  )
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
    "coverage": films.coverage,
    "filled": films.filled,
    "reach": films.reach,
    "failed": films.failed,
    "request": _request(loaded, job, settings),
    "loras": loaded.networks.loras,
    **{name: scene.metadata[name] for name in _FROM_SCENE},
    "seconds": round(time.monotonic() - started, 2),
  }
  outputs.write_json(target / SUMMARY, summary)
  for name, value in checks.items():
    print(f"  {name:<20}{value}", flush=True)
  return films.failed


def _film_settings(
  job: jobs_lib.Job, settings: Settings, loaded: pipeline.Pipeline
) -> films_lib.FilmSettings:
  """How the films of a scene are made."""
  together = loaded.generator.batch if settings.holes == "vism" else 1
  return films_lib.FilmSettings(
    settings.film, settings.holes, job.seed, together
  )
