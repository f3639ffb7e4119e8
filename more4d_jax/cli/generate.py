"""`more4d generate`: a picture and a sentence to a 4D scene and videos."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from more4d_jax import (
  errors,
  inputs,
  pipeline,
  plausibility,
)
from more4d_jax import scene_size as scene_size_lib
from more4d_jax.cli import (
  film_flags,
  films,
  lists,
  outputs,
  sampling_flags,
  scene_files,
)
from more4d_jax.cli import jobs as jobs_lib
from more4d_jax.geometry import camera_paths
from more4d_jax.lora import requests

CAMERAS = ("static", "orbit_left_90", "forward", "circular", "x_moving")


def generate(
  *,
  image: pathlib.Path,
  checkpoint: pathlib.Path,
  out: pathlib.Path,
  prompt: str | None = None,
  depth: pathlib.Path | None = None,
  camera: lists.Words = (),
  depth_unit: str | None = None,
  fov: float | None = None,
  fit: inputs.Fit = "crop",
  scene_size: str = "picture",
  fps: float | None = None,
  seed: int = 0,
  lora: lists.Words = (),
  conditions: Literal["trained", "original"] = "trained",
  film: film_flags.FilmFlags = film_flags.DEFAULT,
  holes: Literal["auto", "vism", "background"] = "auto",
  dtype: Literal["bfloat16", "float32"] | None = None,
  sampling: sampling_flags.SamplingFlags = sampling_flags.DEFAULT,
) -> None:
  """Makes a 4D scene and its videos of a picture.

  Writes scene.npz, scene.html, for each camera path <camera>.mp4 (completed
  by 4D-ViSM) and <camera>_points.mp4 (the bare rendering), and summary.json.
  With several pictures each gets a folder of its name. Grey pictures repeat
  their channel, transparent ones are blended over white.

  Args:
    image: a picture, a folder of them, or a manifest (one JSON object with
      image, prompt and perhaps depth a line).
    checkpoint: directory made by `more4d bundle`.
    out: directory for the results. With several pictures each one's folder
      appears when it is finished and stays: the same command goes on, and
      ends with status 3 if a picture or a film failed.
    prompt: what moves and how.
    depth: depth of the whole picture: .npy, .npz, .exr or floating-point .tif
      in metres (an .npz may hold `intrinsics`, a mask `valid` and `unit`
      beside `depth`), 16-bit .png in millimetres; a folder of them if --image
      is one. The checkpoint's depth network estimates it when left out.
    depth_unit: of the depth file's values: m, cm, mm, or metres per value;
      files of whole numbers need it.
    camera: names of camera paths or camera files; static, orbit_left_90,
      forward, circular and x_moving when left out.
    fov: horizontal angle of view of the whole picture in degrees; when left
      out, the camera in the depth file, else from EXIF data, else 60.
    fit: crop cuts the picture to the model's aspect around its centre;
      letterbox keeps all of it, and results have the picture's aspect.
    scene_size: of the scene and its videos: HxW (rows by columns), or that of
      the model or the picture, at most 720 rows. Motion and estimated depth
      of the model are brought to it, guided by the picture.
    fps: frames per second of the scene, with frames between the model's own;
      the model's when left out.
    seed: of the noise, 0 to 2^63 - 1.
    lora: LoRA files that change the view completion, as FILE or FILE:WEIGHT
      (the weight is 1 when left out; the release runs its own at 0.55);
      strag=FILE changes the trajectory generator.
    film: how the scene is filmed.
    holes: what fills the holes of a rendering: view completion (vism), or the
      colours of what lies behind them (background), which takes no network;
      auto takes view completion where it is more than a small network.
    dtype: what transformers and encoders are held and compute in; as the
      checkpoint has it when left out.
    sampling: how latents are drawn.
  """
  settings = scene_files.Settings(
    cameras=choose_cameras(camera),
    film=film,
    holes=holes,
    seed=seed,
    fov=fov,
    fit=fit,
    size=scene_size_lib.parse(scene_size),
    fps=fps,
    depth_unit=depth_unit,
  )
  changes = sampling_flags.overrides(sampling)
  film_flags.check(film)
  if fps is not None:
    plausibility.frame_rate(fps, "--fps")
  plausibility.seed(seed)
  jobs = jobs_lib.find_jobs(image, prompt, depth)
  several = image.is_dir() or image.suffix.lower() in jobs_lib.MANIFESTS
  _check_out(out)
  outputs.check_folder(out)
  # Every mistake is found before a network is read.
  unreadable = _unreadable(jobs, settings, several)
  jobs = [job for job in jobs if job.name not in unreadable]
  loras = requests.parse(lists.items(lora, requests.names_file, "--lora"))
  for request in loras:
    print(requests.describe(request), flush=True)
  loaded = pipeline.load(checkpoint, changes, loras, conditions, dtype)
  settings = _fitted(settings, loaded, jobs)
  if several:
    _make_all(loaded, jobs, settings, out, unreadable)
  else:
    _make_one(loaded, jobs[0], settings, out)
  print(f"results in {out}", flush=True)


def _unreadable(
  jobs: Sequence[jobs_lib.Job], settings: scene_files.Settings, several: bool
) -> dict[str, str]:
  """Names of scenes whose files cannot be read, and why.

  Raises:
    UserError: if there is no other scene.
  """
  found = {}
  for job in jobs:
    try:
      inputs.check(*scene_files.read(job, settings), settings.fov)
    except errors.UserError as error:
      if not several:
        raise
      found[job.name] = films.one_line(error)
      print(f"left out: {found[job.name]}", flush=True)
  if len(found) == len(jobs):
    raise errors.UserError(
      f"none of {len(jobs)} pictures can be used: {next(iter(found.values()))}"
    )
  return found


def _fitted(
  settings: scene_files.Settings,
  loaded: pipeline.Pipeline,
  jobs: Sequence[jobs_lib.Job],
) -> scene_files.Settings:
  """The settings for a checkpoint, which must have what they need.

  Raises:
    UserError: if a network is missing, or a camera file has poses of another
      number of frames.
  """
  holes = settings.holes
  if holes == "auto":
    holes = _filler(loaded)
  _check_networks(loaded, jobs, holes)
  count = len(loaded.moments(settings.fps))
  for name in settings.cameras:
    camera_paths.check(name, count, resample=settings.film.resample_path)
  return dataclasses.replace(settings, holes=holes)


def _make_one(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  settings: scene_files.Settings,
  out: pathlib.Path,
) -> None:
  """Makes the only scene; a film that fails leaves the rest."""
  prepared = scene_files.prepare(loaded, job, settings)
  with _new_directory(out) as folder:
    failed = scene_files.make(loaded, job, prepared, settings, folder)
  if failed:
    raise errors.PartlyDoneError(
      f"{len(failed)} of {len(settings.cameras)} films failed: "
      f"{_first(failed)}; the others are in {out}"
    )


def _make_all(
  loaded: pipeline.Pipeline,
  jobs: Sequence[jobs_lib.Job],
  settings: scene_files.Settings,
  out: pathlib.Path,
  failed: dict[str, str],
) -> None:
  """Makes scenes one after the other, each in its own folder.

  A scene that is finished stays, also if the next one fails or the process
  is killed; called again, those that are there are not made again.

  Args:
    loaded: the networks.
    jobs: scenes to make.
    settings: what they share.
    out: folder of their folders.
    failed: names of scenes that cannot be made, and why; grows.
  """
  out.mkdir(parents=True, exist_ok=True)
  done: list[str] = []
  for job in jobs:
    _write_overview(out, done, failed)
    try:
      reason = _make_of_several(loaded, job, settings, out / job.name)
    except films.FAILURES as error:
      reason = films.one_line(error)
    if reason:
      failed[job.name] = reason
      print(f"failed: {job.name}: {reason}", flush=True)
    else:
      done.append(job.name)
  _write_overview(out, done, failed)
  if failed:
    raise errors.PartlyDoneError(
      f"{len(failed)} of {len(done) + len(failed)} scenes failed: "
      f"{_first(failed)}; the others are in {out}, and the same command goes on"
    )


def _make_of_several(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  settings: scene_files.Settings,
  target: pathlib.Path,
) -> str:
  """Makes a scene unless it is there; returns which films failed."""
  if scene_files.is_finished(loaded, job, settings, target):
    print(f"{job.image.name}: is there already", flush=True)
    return ""
  prepared = scene_files.prepare(loaded, job, settings)
  with _new_directory(target) as folder:
    failed = scene_files.make(loaded, job, prepared, settings, folder)
  return "; ".join(f"{name}: {reason}" for name, reason in failed.items())


def _write_overview(
  out: pathlib.Path, done: Sequence[str], failed: Mapping[str, str]
) -> None:
  overview = {"scenes": list(done), "failed": dict(failed)}
  outputs.write_json(out / scene_files.SUMMARY, overview)


def _first(failed: Mapping[str, str]) -> str:
  name, reason = next(iter(failed.items()))
  return f"{name} ({reason})"


def _check_networks(
  loaded: pipeline.Pipeline, jobs: Sequence[jobs_lib.Job], holes: str
) -> None:
  """Raises UserError unless all needed networks and settings are there."""
  sampled = ["strag", *(["vism"] if holes == "vism" else [])]
  estimated = ["depth"] if any(not job.depth for job in jobs) else []
  for kind in ["video_vae", "motion_vae", *sampled, *estimated]:
    loaded.networks.network(kind)
  for kind in sampled:
    loaded.networks.sampler(kind)


def _filler(loaded: pipeline.Pipeline) -> str:
  """What fills holes best.

  Networks that keep what the renderer shows are small: they blur what they
  invent more than the colours behind a hole do.
  """
  if not loaded.networks.has("vism"):
    return "background"
  keeps = loaded.networks.sampler("vism").keep_rendered
  return "background" if keeps else "vism"


def choose_cameras(words: lists.Words) -> tuple[str, ...]:
  """Finds and checks the camera paths, before anything heavy happens."""
  names = (
    lists.items(words, camera_paths.exists, "--camera") if words else CAMERAS
  )
  for name in names:
    camera_paths.check(name)
  labels = [camera_paths.label(name) for name in names]
  twice = sorted({label for label in labels if labels.count(label) > 1})
  if twice:
    raise errors.UserError(
      f"expected each camera path once, found {twice[0]!r} twice: their videos "
      "would have the same name"
    )
  return names


def _check_out(out: pathlib.Path) -> None:
  """Refuses to replace anything but an earlier result."""
  if os.path.ismount(out):
    raise errors.UserError(
      f"expected a directory that can be replaced, found {out}, the root of a "
      "disk: name a directory in it"
    )
  if out.is_dir() and (
    not any(out.iterdir()) or (out / scene_files.SUMMARY).is_file()
  ):
    return
  if os.path.lexists(out):
    raise errors.UserError(
      f"expected a new directory for the results, found {out}, which holds "
      "other files: name another --out"
    )


@contextlib.contextmanager
def _new_directory(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder to fill that gets its name when the block ends well."""
  out = out.resolve()  # Beside a link's target, on its disk.
  out.parent.mkdir(parents=True, exist_ok=True)
  partial = out.with_name(f"{out.name}.partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir()
  try:
    yield partial
    if out.exists():
      shutil.rmtree(out)
    os.replace(partial, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
