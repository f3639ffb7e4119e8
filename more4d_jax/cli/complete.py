"""`more4d complete`: films of a saved scene, holes filled by 4D-ViSM."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

from more4d_jax import (
  batches,
  errors,
  generation_programs,
  pipeline,
  plausibility,
)
from more4d_jax import scene as scene_lib
from more4d_jax.checkpoints import dtypes
from more4d_jax.cli import (
  coverage,
  default_checkpoint,
  film_flags,
  films,
  generate,
  lists,
  memory_checks,
  outputs,
  request_digests,
  run_flags,
  sampling_flags,
  scene_files,
)
from more4d_jax.geometry import camera_paths

# What a summary holds by camera path.
_BY_CAMERA = ("coverage", "filled", "reach", "requests")


def complete(
  *,
  scene: pathlib.Path,
  out: pathlib.Path,
  checkpoint: pathlib.Path | None = None,
  camera: lists.Words = (),
  together: int | None = None,
  seed: int = 0,
  lora: lists.Words = (),
  conditions: Literal["trained", "original"] = "trained",
  film: film_flags.FilmFlags = film_flags.DEFAULT,
  dtype: dtypes.Held | None = None,
  execution: run_flags.RunFlags = run_flags.DEFAULT,
  sampling: sampling_flags.SamplingFlags = sampling_flags.DEFAULT,
) -> None:
  """Films a saved scene, its holes filled by view completion (4D-ViSM).

  Writes, for each camera path, <camera>.mp4 and <camera>_points.mp4 (the bare
  rendering), and summary.json, which says what drew which share of the pixels.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    out: directory for the results. Films stay when they are finished: the
      same command goes on, and ends with status 3 if one failed.
    checkpoint: directory made by `more4d bundle`; the one that ships with the
      package when left out.
    camera: names of camera paths or camera files; static, orbit_left_90,
      forward, circular and x_moving when left out.
    together: films that are completed in one batch; when left out, 1 by a
      large network and 4 by a small one.
    seed: of the noise, 0 to 2^63 - 1; one noise for all paths.
    lora: LoRA files that change the view completion, as FILE or FILE:WEIGHT.
    film: how the scene is filmed.
    dtype: what transformer and encoders are held and compute in; int8 is for
      the kernels of their layers, beside bfloat16; as the checkpoint has it
      when left out.
    execution: how networks are run.
    sampling: how latents are drawn.
  """
  cameras = generate.choose_cameras(camera)
  changes = sampling_flags.overrides(sampling)
  film_flags.check(film)
  plausibility.seed(seed)
  if together is not None and not 1 <= together <= 64:
    raise errors.UserError(f"expected --together of 1 to 64, found {together}")
  outputs.check_folder(out)
  before = _summary(out)
  saved = scene_lib.Scene.load(scene)
  for name in cameras:
    saved.camera_path(name, resample=film.resample_path)
    if name not in camera_paths.NAMES and not film.allow_empty:
      coverage.check_scene(saved, name, resample=film.resample_path)
  loras = sampling_flags.read_loras(lora)
  open_pipeline = functools.partial(
    pipeline.load, checkpoint, changes, loras, conditions
  )
  default_checkpoint.say(checkpoint)
  way = memory_checks.Way(dtype, run_flags.options(execution))
  loaded = open_pipeline(way.dtype, way.options)
  for kind in ("video_vae", "vism"):
    loaded.networks.network(kind)
  together = together or loaded.generator.batch("vism")
  work = generation_programs.Work(
    rendering=(saved.num_frames, *saved.size),
    films=batches.even(len(cameras), together),
  )
  memory_checks.check(
    (loaded.generator, work),
    way,
    lambda way: (open_pipeline(way.dtype, way.options).generator, work),
  )
  settings = films.FilmSettings(film, "vism", seed, together)
  wanted = _requests(loaded, scene, cameras, settings)
  _make(loaded, saved, _Order(scene, out, wanted, before), settings)


@dataclasses.dataclass(frozen=True)
class _Order:
  """What is to be made, and where.

  Attributes:
    scene: its file.
    out: folder of the films.
    wanted: camera path -> digest of all that its film follows from.
    before: the summary of an earlier call, or {}.
  """

  scene: pathlib.Path
  out: pathlib.Path
  wanted: dict[str, str]
  before: dict[str, Any]

  def finished(self) -> set[str]:
    """Camera paths whose films are there as they are wanted."""
    there = self.before.get("requests", {})
    return {
      name
      for name, digest in self.wanted.items()
      if there.get(name) == digest
      and (self.out / f"{camera_paths.label(name)}.mp4").is_file()
    }


def _make(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  order: _Order,
  settings: films.FilmSettings,
) -> None:
  """Makes what is missing; the summary tells of each film once it is there."""
  order.out.mkdir(parents=True, exist_ok=True)
  finished = order.finished()
  for name in sorted(finished):
    print(f"{camera_paths.label(name)}.mp4 is there already", flush=True)
  missing = [name for name in order.wanted if name not in finished]

  def write(found: films.Films) -> None:
    summary = _overview(loaded, scene, order, settings, found)
    outputs.write_json(order.out / scene_files.SUMMARY, summary)

  found = films.Films()
  write(found)
  if missing:
    found = films.make(loaded, scene, missing, settings, order.out, write)
  if found.failed:
    name, reason = next(iter(found.failed.items()))
    raise errors.PartlyDoneError(
      f"{len(found.failed)} of {len(order.wanted)} films failed: {name} "
      f"({reason}); the others are in {order.out}, and the same command goes on"
    )
  print(f"results in {order.out}", flush=True)


def _overview(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  order: _Order,
  settings: films.FilmSettings,
  found: films.Films,
) -> dict[str, Any]:
  """The summary: of films made before and now."""
  made = {
    "coverage": found.coverage,
    "filled": found.filled,
    "reach": found.reach,
    "requests": {name: order.wanted[name] for name in found.filled},
  }
  # A film that is to be made anew is not told of until it is there.
  kept = set(order.before.get("requests", {})) - set(order.wanted)
  kept |= order.finished()
  earlier = {
    part: {n: v for n, v in order.before.get(part, {}).items() if n in kept}
    for part in _BY_CAMERA
  }
  return {
    "scene": str(order.scene),
    "prompt": str(scene.metadata.get("prompt", "")),
    "frames": scene.num_frames,
    "size": list(scene.size),
    "fps": scene.fps,
    **loaded.networks.record("vism"),
    "loras": loaded.networks.loras,
    "seed": settings.seed,
    **{
      part: earlier[part] | {n: made[part][n] for n in found.filled}
      for part in _BY_CAMERA
    },
    "failed": found.failed,
  }


def _requests(
  loaded: pipeline.Pipeline,
  scene: pathlib.Path,
  cameras: Sequence[str],
  settings: films.FilmSettings,
) -> dict[str, str]:
  """A digest of all that each film follows from, by camera path."""
  asked = [repr((settings.film, settings.holes, settings.seed))]
  return {
    name: request_digests.digest(
      loaded.networks, [*asked, name], [scene, pathlib.Path(name)]
    )
    for name in cameras
  }


def _summary(out: pathlib.Path) -> dict[str, Any]:
  """What an earlier call wrote, or {}; refuses a folder of other files."""
  if not out.is_dir() or not any(out.iterdir()):
    return {}
  try:
    found = json.loads((out / scene_files.SUMMARY).read_text())
  except (OSError, ValueError):
    found = None
  if not isinstance(found, dict) or not isinstance(found.get("requests"), dict):
    raise errors.UserError(
      f"expected a new directory for the films, found {out}, which holds other "
      "files: name another --out"
    )
  return found
