"""The scenes of a command, some together: what is finished stays."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from more4d_jax import errors, pipeline
from more4d_jax.cli import failures, outputs, scene_batches, scene_files
from more4d_jax.cli import jobs as jobs_lib

BATCH = 4  # Scenes together, whose trajectories a sudden end may cost.


@dataclasses.dataclass(frozen=True)
class Place:
  """Where the scenes of a command go.

  Attributes:
    out: folder of the only scene, or of the folders of several.
    several: whether each scene has a folder of its name.
  """

  out: pathlib.Path
  several: bool

  def folder(self, job: jobs_lib.Job) -> pathlib.Path:
    """The folder of one scene."""
    return self.out / job.name if self.several else self.out

  def check(self) -> None:
    """Refuses to replace anything but an earlier result of the same kind.

    Raises:
      UserError: also if nothing can be written there.
    """
    out = self.out
    if os.path.ismount(out):
      raise errors.UserError(
        f"expected a directory that can be replaced, found {out}, the root of "
        "a disk: name a directory in it"
      )
    empty = not os.path.lexists(out) or (
      out.is_dir() and not any(out.iterdir())
    )
    if not empty:
      self._check_earlier()
    outputs.check_folder(out)

  def _check_earlier(self) -> None:
    summary = outputs.read_json(self.out / scene_files.SUMMARY)
    found = "other files"
    for key, several in (("image", False), ("scenes", True)):
      if key in summary:
        if several == self.several:
          return
        found = "several scenes" if several else "a single scene"
    raise errors.UserError(
      f"expected a new directory for the results, found {self.out}, which "
      f"holds {found}: name another --out"
    )


def make(
  loaded: pipeline.Pipeline,
  jobs: Sequence[jobs_lib.Job],
  settings: scene_files.Settings,
  place: Place,
  unreadable: Mapping[str, str],
  batch: int = BATCH,
) -> None:
  """Makes scenes; those that are there already are not made again.

  A scene that is finished stays, also if the next one fails or the process
  is killed.

  Args:
    loaded: the networks.
    jobs: scenes to make.
    settings: what they share.
    place: where they go.
    unreadable: names of scenes that cannot be made, and why.
    batch: scenes that go through each stage together.

  Raises:
    PartlyDoneError: if one of several scenes failed, or a film.
  """
  if place.several:
    _make_all(loaded, jobs, settings, place, dict(unreadable), batch)
    return
  found = {}
  order = scene_batches.Order(jobs[0], place.out)
  made = scene_batches.Batch(
    loaded, settings, lambda job, failed: found.update({job.name: failed})
  )
  made.make([order])
  (failed,) = found.values()
  if isinstance(failed, Exception):
    raise failed
  if failed:
    raise errors.PartlyDoneError(
      f"{len(failed)} of {len(settings.cameras)} films failed: "
      f"{_first(failed)}; the others are in {place.out}, and the same command "
      "goes on"
    )
  print(f"results in {place.out}", flush=True)


def _make_all(
  loaded: pipeline.Pipeline,
  jobs: Sequence[jobs_lib.Job],
  settings: scene_files.Settings,
  place: Place,
  failed: dict[str, str],
  batch: int,
) -> None:
  """Makes several scenes; one that fails stops no other.

  Args:
    loaded: the networks.
    jobs: scenes to make.
    settings: what they share.
    place: where they go.
    failed: names of scenes that cannot be made, and why; grows.
    batch: scenes that go through each stage together.
  """
  place.out.mkdir(parents=True, exist_ok=True)
  done: dict[str, jobs_lib.Job] = {}

  def note(job: jobs_lib.Job, lost: Exception | Mapping[str, str]) -> None:
    if lost:
      failed[job.name] = reason = _reason(lost)
      print(f"failed: {job.name}: {reason}", flush=True)
    else:
      done[job.name] = job
    _write_overview(place.out, jobs, done, failed)

  _write_overview(place.out, jobs, done, failed)
  made = scene_batches.Batch(loaded, settings, note)
  orders = [
    scene_batches.Order(job, place.folder(job), f"{job.name}: ") for job in jobs
  ]
  for first in range(0, len(orders), batch):
    made.make(orders[first : first + batch])
  if failed:
    raise errors.PartlyDoneError(
      f"{len(failed)} of {len(done) + len(failed)} scenes failed: "
      f"{_first(failed)}; the others are in {place.out}, and the same command "
      "goes on"
    )
  print(f"results in {place.out}", flush=True)


def _reason(lost: Exception | Mapping[str, str]) -> str:
  """Why a scene or some of its films failed, in one line."""
  if isinstance(lost, Exception):
    return failures.one_line(lost)
  return "; ".join(f"{name}: {why}" for name, why in lost.items())


def _write_overview(
  out: pathlib.Path,
  jobs: Sequence[jobs_lib.Job],
  done: Mapping[str, jobs_lib.Job],
  failed: Mapping[str, str],
) -> None:
  """Writes which scenes are finished, in the order of the command."""
  finished = [job for job in jobs if job.name in done]
  overview = {
    "scenes": [job.name for job in finished],
    "seeds": {job.name: job.seed for job in finished},
    "failed": dict(failed),
  }
  outputs.write_json(out / scene_files.SUMMARY, overview)


def _first(failed: Mapping[str, str]) -> str:
  name, reason = next(iter(failed.items()))
  return f"{name} ({reason})"
