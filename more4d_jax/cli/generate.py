"""`more4d generate`: a picture and a sentence to a 4D scene and videos."""

import contextlib
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from more4d_jax import (
  batches,
  errors,
  generation_memory,
  generation_programs,
  inputs,
  pipeline,
  plausibility,
  preparation,
)
from more4d_jax import scene_size as scene_size_lib
from more4d_jax.checkpoints import dtypes
from more4d_jax.cli import (
  default_checkpoint,
  failures,
  film_flags,
  job_runs,
  lists,
  memory_checks,
  run_flags,
  sampling_flags,
  scene_files,
)
from more4d_jax.cli import dry_run as plan
from more4d_jax.cli import jobs as jobs_lib
from more4d_jax.geometry import camera_paths
from more4d_jax.sampling import longer_clips


def generate(
  *,
  image: pathlib.Path,
  out: pathlib.Path,
  checkpoint: pathlib.Path | None = None,
  prompt: str | None = None,
  negative_prompt: str | None = None,
  depth: pathlib.Path | None = None,
  camera: lists.Words = (),
  depth_unit: str | None = None,
  fov: float | None = None,
  fit: inputs.Fit = "crop",
  scene_size: str = "picture",
  fps: float | None = None,
  frames: int | None = None,
  seed: int = 0,
  samples: int = 1,
  batch: int = job_runs.BATCH,
  keep: bool = False,
  dry_run: bool = False,
  lora: lists.Words = (),
  conditions: Literal["trained", "original"] = "trained",
  film: film_flags.FilmFlags = film_flags.DEFAULT,
  holes: Literal["auto", "vism", "background"] = "auto",
  dtype: dtypes.Held | None = None,
  execution: run_flags.RunFlags = run_flags.DEFAULT,
  sampling: sampling_flags.SamplingFlags = sampling_flags.DEFAULT,
) -> None:
  """Makes a 4D scene and its videos of a picture.

  Writes scene.npz, scene.html, for each camera path <camera>.mp4 (completed
  by 4D-ViSM) and <camera>_points.mp4 (the bare rendering), and summary.json.
  With several pictures each gets a folder of its name. Grey pictures repeat
  their channel, transparent ones are blended over white.

  Args:
    image: a picture, a folder of them, or a manifest (one JSON object with
      image, prompt and perhaps negative_prompt and depth a line).
    out: directory for the results. With several pictures each one's folder
      appears when it is finished and stays: the same command goes on, and
      ends with status 3 if a picture or a film failed.
    checkpoint: directory made by `more4d bundle`; the one that ships with the
      package when left out.
    prompt: what moves and how; '' for no caption.
    negative_prompt: what guidance leads away from; no caption when left out.
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
    frames: that the model draws, 4 k + 1, as many as in training when left
      out. More of them are beyond what it was trained for.
    seed: of the noise, 0 to 2^63 - 1.
    samples: scenes of each picture, in folders <picture>_sample_0 and so on.
      The first has the seed itself, the summaries name those of the others.
    batch: scenes that go through each stage together, so that weights are read
      once for a stage and batch. What their stages pass on lies in memory, a
      few hundred MB for each at 49 frames of 368 x 512; how many go through a
      network at once does not change.
    keep: keeps every intermediate value in a folder `intermediate` of the
      scene.
    dry_run: reads all but weights, says what would be made, and writes
      nothing; ends as the command would after its checks.
    lora: LoRA files that change the view completion, as FILE or FILE:WEIGHT
      (the weight is 1 when left out; the release runs its own at 0.55);
      strag=FILE changes the trajectory generator.
    film: how the scene is filmed.
    holes: what fills the holes of a rendering: view completion (vism), or the
      colours of what lies behind them (background), which takes no network;
      auto takes view completion where it is more than a small network.
    dtype: what transformers and encoders are held and compute in; int8 is for
      the kernels of their layers, beside bfloat16; as the checkpoint has it
      when left out.
    execution: how networks are run.
    sampling: how latents are drawn.
  """
  changes = sampling_flags.overrides(sampling)
  _check_flags(film, fps, frames, batch)
  settings = scene_files.Settings(
    cameras=choose_cameras(camera),
    film=film,
    holes=holes,
    fov=fov,
    fit=fit,
    size=scene_size_lib.parse(scene_size),
    fps=fps,
    depth_unit=depth_unit,
    keep=keep,
  )
  words = jobs_lib.Words(prompt, negative_prompt)
  jobs = jobs_lib.drawn(jobs_lib.find_jobs(image, words, depth), seed, samples)
  place = job_runs.Place(out, samples > 1 or jobs_lib.names_several(image))
  place.check()
  # Every mistake is found before a network is read.
  sizes, unreadable = _read(jobs, settings, place.several)
  jobs = [job for job in jobs if job.name not in unreadable]
  weights = checkpoint, changes, sampling_flags.read_loras(lora), conditions
  open_pipeline = functools.partial(pipeline.load, *weights)
  default_checkpoint.say(checkpoint)
  loaded = open_pipeline(dtype, run_flags.options(execution), frames)
  settings = _fitted(settings, loaded, jobs)
  pictures = _Pictures(jobs, sizes, min(batch, len(jobs)))
  pictures.check_memory(open_pipeline, dtype, loaded, settings)
  if dry_run:
    plan.show(loaded, jobs, settings, place, unreadable)
  else:
    job_runs.make(loaded, jobs, settings, place, unreadable, batch)


@dataclasses.dataclass(frozen=True)
class _Pictures:
  """Pictures to set in motion, as far as memory is concerned.

  Attributes:
    jobs: scenes to make.
    sizes: (H, W) of each picture.
    together: scenes that go through each stage together.
  """

  jobs: Sequence[jobs_lib.Job]
  sizes: Mapping[pathlib.Path, tuple[int, int]]
  together: int

  def check_memory(
    self,
    open_pipeline: Callable[..., pipeline.Pipeline],
    dtype: dtypes.Held | None,
    loaded: pipeline.Pipeline,
    settings: scene_files.Settings,
  ) -> None:
    """Refuses what the devices have no memory for.

    Args:
      open_pipeline: in a type, with options and a number of frames.
      dtype: in which networks are held.
      loaded: these, whose weights are not read.
      settings: of the scenes.

    Raises:
      UserError: with the figures, and the first flags with which it would fit.
    """

    def ask(way: memory_checks.Way) -> generation_memory.Asked:
      pipe = open_pipeline(way.dtype, way.options, way.frames)
      other = dataclasses.replace(settings, size=way.size)
      return pipe.generator, self.work(pipe, other)

    options, frames = loaded.generator.options, loaded.size[0]
    memory_checks.check(
      (loaded.generator, self.work(loaded, settings)),
      memory_checks.Way(dtype, options, frames, settings.size),
      ask,
    )

  def work(
    self, pipe: pipeline.Pipeline, settings: scene_files.Settings
  ) -> generation_programs.Work:
    """What goes through the stages at once, of the largest pictures."""
    frames, estimated, films = [pipe.size[1:]], [], 0
    for job in self.jobs:
      size = self.sizes[job.image]
      with contextlib.suppress(errors.UserError):  # It is said in its turn.
        frame = scene_size_lib.frame_size(
          settings.size, size, pipe.size[1:], settings.fit
        )
        frames.append(frame)
        if job.depth is None:
          estimated.append(preparation.depth_size(pipe.networks, size, frame))
    if settings.holes == "vism":
      films = batches.even(
        self.together * len(settings.cameras), pipe.generator.batch("vism")
      )
    return generation_programs.Work(
      depth=max(estimated, key=math.prod, default=None),
      scenes=1,
      rendering=(
        len(pipe.moments(settings.fps)), *max(frames, key=math.prod),
      ),
      films=films,
    )  # fmt: skip


def _check_flags(
  film: film_flags.FilmFlags,
  fps: float | None,
  frames: int | None,
  batch: int,
) -> None:
  """Raises UserError for numbers that cannot be meant."""
  if not 1 <= batch <= 64:
    raise errors.UserError(f"expected --batch of 1 to 64, found {batch}")
  film_flags.check(film)
  if fps is not None:
    plausibility.frame_rate(fps, "--fps")
  if frames is not None:
    longer_clips.check(frames)


def _read(
  jobs: Sequence[jobs_lib.Job], settings: scene_files.Settings, several: bool
) -> tuple[dict[pathlib.Path, tuple[int, int]], dict[str, str]]:
  """Sizes of pictures, and names of scenes that cannot be read, and why.

  Raises:
    UserError: if there is no scene that can be read.
  """
  sizes, found, reasons = {}, {}, {}
  for job in jobs:
    files = job.image, job.depth
    if files not in reasons:
      try:
        picture, known = scene_files.read(job, settings)
        inputs.check(picture, known, settings.fov)
        sizes[job.image] = picture.pixels.shape[:2]
        reasons[files] = ""
      except errors.UserError as error:
        if not several:
          raise
        reasons[files] = failures.one_line(error)
        print(f"left out: {reasons[files]}", flush=True)
    if reasons[files]:
      found[job.name] = reasons[files]
  if len(found) == len(jobs):
    raise errors.UserError(
      f"none of {len(reasons)} pictures can be used: "
      f"{next(iter(found.values()))}"
    )
  return sizes, found


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
    holes = filler(loaded)
  _check_networks(loaded, jobs, holes)
  _say_unused(loaded, jobs)
  _say_length(loaded)
  count = len(loaded.moments(settings.fps))
  for name in settings.cameras:
    camera_paths.check(name, count, resample=settings.film.resample_path)
  return dataclasses.replace(settings, holes=holes)


def _say_unused(
  loaded: pipeline.Pipeline, jobs: Sequence[jobs_lib.Job]
) -> None:
  """Says which words change nothing."""
  guided = loaded.networks.sampler("strag").guidance_scale > 1
  if not guided and any(job.negative_prompt for job in jobs):
    print("--negative-prompt is not used: guidance is at most 1", flush=True)
  if guided and any(not job.prompt + job.negative_prompt for job in jobs):
    print(
      "without a caption and a negative prompt guidance changes nothing: "
      "--guidance 1 takes half the time",
      flush=True,
    )


def _say_length(loaded: pipeline.Pipeline) -> None:
  """Says how far a clip is from those of training, and what is done."""
  frames = loaded.size[0]
  record = loaded.networks.record("strag")
  trained, number = record["trained_frames"], record["sampler"]["riflex"]
  if frames == trained:
    return
  line = f"{frames} frames, but the networks were trained on {trained}"
  if frames > trained:
    line += ": beyond their training motion may repeat itself or stop"
    if number:
      line += f"; rotary frequency {number} is slowed down (RIFLEx)"
  print(line, flush=True)


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


def filler(loaded: pipeline.Pipeline) -> str:
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
    lists.items(words, camera_paths.exists, "--camera")
    if words
    else camera_paths.DEFAULTS
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
