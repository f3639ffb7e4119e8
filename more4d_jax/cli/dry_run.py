"""`more4d generate --dry-run`: what would be made, of headers alone."""

import collections
import math
from collections.abc import Mapping, Sequence

from more4d_jax import errors, generation, pipeline, registry, scene_size
from more4d_jax.cli import job_runs, scene_files
from more4d_jax.cli import jobs as jobs_lib
from more4d_jax.name_maps import matching
from more4d_jax.sampling import sample_strag, sample_vism
from more4d_jax.sampling import stages as stages_lib


def show(
  loaded: pipeline.Pipeline,
  jobs: Sequence[jobs_lib.Job],
  settings: scene_files.Settings,
  place: job_runs.Place,
  unreadable: Mapping[str, str],
) -> None:
  """Prints the plan of a command that was checked; writes nothing.

  Args:
    loaded: the networks, whose weights are not read.
    jobs: scenes that can be made.
    settings: what they share.
    place: where they would go.
    unreadable: names of scenes that cannot be made, and why.

  Raises:
    UserError: if a picture cannot be brought to the model's size, or a camera
      file sees nothing of it.
    PartlyDoneError: if some scenes cannot be made, as the command would.
  """
  print("nothing is written; this would be done:")
  failed = dict(unreadable)
  bytes_left = 0
  for job in jobs:
    try:
      line, size = _described(loaded, job, settings, place)
    except errors.UserError as error:
      if not place.several:
        raise
      failed[job.name] = line = " ".join(str(error).split())
      size = 0
    print(f"  {job.name}: {line}")
    bytes_left += size
  for name, reason in unreadable.items():
    print(f"  {name}: {reason}")
  print(f"files of each scene: {', '.join(scene_files.files(settings))}")
  print(f"scene.npz of all: at most {_size(bytes_left)}")
  _show_stages(loaded, stages(jobs, settings.holes))
  if failed:
    name, reason = next(iter(failed.items()))
    raise errors.PartlyDoneError(
      f"{len(failed)} of {len(jobs) + len(unreadable)} scenes cannot be made: "
      f"{name} ({reason})"
    )


def _described(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  settings: scene_files.Settings,
  place: job_runs.Place,
) -> tuple[str, int]:
  """One scene in a line, and the most bytes that its file takes."""
  folder = place.folder(job)
  if scene_files.is_finished(loaded, job, settings, folder):
    return f"is there already, in {folder}", 0
  picture, _ = scene_files.read(job, settings)
  if job.depth is not None:  # Without a network.
    (prepared,) = scene_files.prepare(loaded, [job], settings)
    if isinstance(prepared, Exception):
      raise prepared
  frames = len(loaded.moments(settings.fps))
  height, width = scene_size.frame_size(
    settings.size, picture.pixels.shape[:2], loaded.size[1:], settings.fit
  )
  words = [repr(job.prompt) if job.prompt else "no caption"]
  if job.negative_prompt:
    words.append(f"away from {job.negative_prompt!r}")
  line = (
    f"{frames} frames of up to {height} x {width}, {', '.join(words)}, seed "
    f"{job.seed}, depth {job.depth or 'estimated'}, to {folder}"
  )
  # Tracks of float16, visibility and colours, before compression.
  return line, height * width * (frames * 7 + 3)


def stages(
  jobs: Sequence[jobs_lib.Job], holes: str
) -> tuple[stages_lib.Stage, ...]:
  """What is done in turn: its name, kind of network and parts."""
  estimated = any(job.depth is None for job in jobs)
  depth = (generation.DEPTH,) if estimated else ()
  films = sample_vism.STAGES if holes == "vism" else ()
  return (*depth, *sample_strag.STAGES, *films)


def _show_stages(
  loaded: pipeline.Pipeline, found: Sequence[stages_lib.Stage]
) -> None:
  """A table of the weights that each stage reads."""
  largest = 0
  print(f"  {'stage':<26}{'network':<12}weights")
  for name, kind, parts in found:
    sizes = weights(loaded, kind, parts)
    largest = max(largest, sum(sizes.values()))
    told = ", ".join(f"{_size(n)} {dtype}" for dtype, n in sizes.items())
    print(f"  {name:<26}{kind:<12}{told or 'none'}")
  print(f"at once on the device: {_size(largest)} of weights, and activations")


def weights(
  loaded: pipeline.Pipeline, kind: str, parts: Sequence[str]
) -> dict[str, int]:
  """Bytes of parts of a network by type, of shapes alone."""
  row, sizes = registry.NETWORKS[kind], collections.Counter()
  params = matching.flatten(loaded.networks.network(kind).params)
  for path, leaf in params.items():
    if row.part_of(path) in parts:
      count = math.prod(leaf.shape)
      sizes[str(leaf.dtype)] += count * leaf.dtype.itemsize
  return dict(sizes)


def _size(count: int) -> str:
  """Bytes as people write them."""
  for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
    if count >= size:
      return f"{count / size:.3g} {unit}"
  return f"{count} bytes"
