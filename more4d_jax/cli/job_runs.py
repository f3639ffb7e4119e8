"""Scenes made one after the other: what is finished stays."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from more4d_jax import errors, pipeline
from more4d_jax.cli import films, outputs, scene_files
from more4d_jax.cli import jobs as jobs_lib


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

  Raises:
    PartlyDoneError: if one of several scenes failed, or a film.
  """
  if place.several:
    _make_all(loaded, jobs, settings, place, dict(unreadable))
    return
  failed = _make(loaded, jobs[0], settings, place.out)
  if failed:
    raise errors.PartlyDoneError(
      f"{len(failed)} of {len(settings.cameras)} films failed: "
      f"{_first(failed)}; the others are in {place.out}"
    )
  print(f"results in {place.out}", flush=True)


def _make_all(
  loaded: pipeline.Pipeline,
  jobs: Sequence[jobs_lib.Job],
  settings: scene_files.Settings,
  place: Place,
  failed: dict[str, str],
) -> None:
  """Makes several scenes; one that fails stops no other.

  Args:
    loaded: the networks.
    jobs: scenes to make.
    settings: what they share.
    place: where they go.
    failed: names of scenes that cannot be made, and why; grows.
  """
  place.out.mkdir(parents=True, exist_ok=True)
  done: list[jobs_lib.Job] = []
  for job in jobs:
    _write_overview(place.out, done, failed)
    try:
      lost = _make(loaded, job, settings, place.folder(job))
      reason = "; ".join(f"{name}: {why}" for name, why in lost.items())
    except films.FAILURES as error:
      reason = films.one_line(error)
    if reason:
      failed[job.name] = reason
      print(f"failed: {job.name}: {reason}", flush=True)
    else:
      done.append(job)
  _write_overview(place.out, done, failed)
  if failed:
    raise errors.PartlyDoneError(
      f"{len(failed)} of {len(done) + len(failed)} scenes failed: "
      f"{_first(failed)}; the others are in {place.out}, and the same command "
      "goes on"
    )
  print(f"results in {place.out}", flush=True)


def _make(
  loaded: pipeline.Pipeline,
  job: jobs_lib.Job,
  settings: scene_files.Settings,
  target: pathlib.Path,
) -> dict[str, str]:
  """Makes a scene unless it is there; returns which films failed, and why."""
  if scene_files.is_finished(loaded, job, settings, target):
    print(f"{job.name}: is there already", flush=True)
    return {}
  prepared = scene_files.prepare(loaded, job, settings)
  with _new_directory(target) as folder:
    return scene_files.make(loaded, job, prepared, settings, folder)


def _write_overview(
  out: pathlib.Path, done: Sequence[jobs_lib.Job], failed: Mapping[str, str]
) -> None:
  overview = {
    "scenes": [job.name for job in done],
    "seeds": {job.name: job.seed for job in done},
    "failed": dict(failed),
  }
  outputs.write_json(out / scene_files.SUMMARY, overview)


def _first(failed: Mapping[str, str]) -> str:
  name, reason = next(iter(failed.items()))
  return f"{name} ({reason})"


@contextlib.contextmanager
def _new_directory(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder to fill that gets its name when the block ends well."""
  out = out.resolve()  # Beside a link's target, on its disk.
  out.parent.mkdir(parents=True, exist_ok=True)
  partial = out.with_name(f"{out.name}{jobs_lib.PARTIAL}")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir()
  try:
    yield partial
    if out.exists():
      shutil.rmtree(out)
    os.replace(partial, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
