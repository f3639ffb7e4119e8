"""`more4d generate`: a picture and a sentence to a 4D scene and videos."""

import contextlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from more4d_jax import (
  depth_sources,
  errors,
  inputs,
  pictures,
  pipeline,
  plausibility,
)
from more4d_jax import scene as scene_lib
from more4d_jax import scene_size as scene_size_lib
from more4d_jax.cli import (
  coverage,
  film_flags,
  lists,
  outputs,
  sampling_flags,
)
from more4d_jax.cli import jobs as jobs_lib
from more4d_jax.evaluation import scene_checks
from more4d_jax.geometry import camera_paths
from more4d_jax.lora import requests
from more4d_jax.rendering import render_video
from more4d_jax.viewing import export, video

CAMERAS = ("static", "orbit_left_90", "forward", "circular", "x_moving")
_SUMMARY = "summary.json"
_FROM_SCENE = (
  "seed",
  "checkpoint",
  "sampler",
  "computed_steps",
  "model_grid",
)
_MIN_SIDE = 256  # Pixels; smaller videos are enlarged.


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
    out: directory for the results; it appears when all of them are there.
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
  cameras = choose_cameras(camera)
  changes = sampling_flags.overrides(sampling)
  film_flags.check(film)
  size = scene_size_lib.parse(scene_size)
  if fps is not None:
    plausibility.frame_rate(fps, "--fps")
  jobs = jobs_lib.find_jobs(image, prompt, depth)
  several = image.is_dir() or image.suffix.lower() in jobs_lib.MANIFESTS
  _check_out(out)
  outputs.check_folder(out)
  plausibility.seed(seed)
  for job in jobs:  # Every mistake is found before a network is read.
    inputs.check(*_read(job, depth_unit), fov)
  loras = requests.parse(lists.items(lora, requests.names_file, "--lora"))
  for request in loras:
    print(requests.describe(request), flush=True)
  loaded = pipeline.load(checkpoint, changes, loras, conditions, dtype)
  holes = _filler(loaded) if holes == "auto" else holes
  _check_networks(loaded, jobs, holes)
  count = len(loaded.moments(fps))
  for name in cameras:  # A file may hold poses of another number of frames.
    camera_paths.check(name, count, resample=film.resample_path)
  prepared = [
    loaded.prepare_picture(*_read(job, depth_unit), fov, fit, size)
    for job in jobs
  ]
  for name in cameras:
    if name not in camera_paths.NAMES and not film.allow_empty:
      for ready in prepared:
        coverage.check_before(ready, name, count, resample=film.resample_path)
  with _new_directory(out) as folder:
    for job, ready in zip(jobs, prepared):
      target = folder / job.name if several else folder
      target.mkdir(exist_ok=True)
      _make(loaded, job, ready, (cameras, film, holes, seed, fps), target)
    if several:
      names = [job.name for job in jobs]
      _write_json(folder / _SUMMARY, {"scenes": names})
  print(f"results in {out}", flush=True)


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


def _make(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  prepared: inputs.Prepared,
  options: tuple[Sequence[str], film_flags.FilmFlags, str, int, float | None],
  target: pathlib.Path,
) -> None:
  """Makes all files of one scene."""
  cameras, film, holes, seed, fps = options
  started = time.monotonic()
  if prepared.invalid_depth:
    print(
      f"{job.depth}: {prepared.invalid_depth} invalid depth values became the "
      "median of the others",
      flush=True,
    )
  print(f"{job.image.name}: {job.prompt!r}", flush=True)
  scene = loaded.scene(prepared, job.prompt, seed, fps)
  checks = scene_checks.scene_checks(scene.tracks, scene.intrinsics)
  _say("trajectories", started)
  scene.save(target / "scene.npz", compact=True)
  export.export(scene, ["html"], target)
  _say("scene.npz and scene.html", started)
  shares, reach = {}, {}
  filmed = film_flags.timed(scene, film)
  for name in cameras:
    path, reach[name] = film_flags.planned(filmed, name, film)
    label = camera_paths.label(name)
    shares[name] = _film(loaded, filmed, (path, holes, seed), target / label)
    _say(f"{camera_paths.label(name)}.mp4", started)
  summary = {
    **checks,
    "image": str(job.image),
    "prompt": job.prompt,
    "depth": str(job.depth) if job.depth else "estimated",
    "invalid_depth_values": prepared.invalid_depth,
    "median_depth": float(np.median(scene.tracks[0, ..., 2])),
    "intrinsics": scene.intrinsics.tolist(),
    "frames": scene.num_frames,
    "size": list(scene.size),
    "fps": scene.fps,
    "coverage": shares,
    "filled": {name: {holes: 1 - share} for name, share in shares.items()},
    "reach": reach,
    "loras": loaded.networks.loras,
    **{name: scene.metadata[name] for name in _FROM_SCENE},
    "seconds": round(time.monotonic() - started, 2),
  }
  _write_json(target / _SUMMARY, summary)
  for name, value in checks.items():
    print(f"  {name:<20}{value}", flush=True)


def _film(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  view: tuple[camera_paths.CameraPath, str, int],
  target: pathlib.Path,
) -> float:
  """Writes both videos of a camera path; returns the share without holes.

  Args:
    loaded: completes the rendering.
    scene: to film.
    view: camera path, what fills the holes, and seed of the noise.
    target: the videos' path without `.mp4` and `_points.mp4`.
  """
  path, holes, seed = view
  background = holes == "background"
  filled, covered = scene.render(
    path, render_video.RenderOptions(fill=background)
  )
  points = np.where(covered[..., None], filled, 0)
  coverage.check(covered, scene, path, target.name, allow_empty=True)
  if not background:
    filled = loaded.complete_rendering(scene, points, covered, seed)
  for frames, suffix in ((filled, ""), (points, "_points")):
    video.write_video(
      target.with_name(f"{target.name}{suffix}.mp4"),
      frames,
      scene.fps,
      min_side=_MIN_SIDE,
    )
  return float(covered.mean())


def _read(
  job: jobs_lib.Job, unit: str | None
) -> tuple[pictures.Picture, depth_sources.DepthMap | None]:
  depth = None
  if job.depth is not None:
    depth = depth_sources.from_file(job.depth, unit)
  return pictures.from_file(job.image), depth


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
  if out.is_dir() and (not any(out.iterdir()) or (out / _SUMMARY).is_file()):
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


def _say(what: str, started: float) -> None:
  print(f"  {what:<32}{time.monotonic() - started:7.1f} s", flush=True)


def _write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
  path.write_text(json.dumps(value, indent=2) + "\n")
