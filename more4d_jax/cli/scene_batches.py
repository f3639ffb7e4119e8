"""Scenes that go through each stage together, from pictures to films.

A scene's folder appears with its trajectories and fills with its films: what
is finished stays, also if something else fails or the process is killed.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from more4d_jax import generation_requests, inputs, pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.cli import failures, films, kept_files, scene_files
from more4d_jax.cli import jobs as jobs_lib

# A scene, and why there is none, or which of its films failed, and why; empty
# if nothing did.
Done = Callable[[jobs_lib.Job, Exception | Mapping[str, str]], None]


@dataclasses.dataclass(frozen=True)
class Order:
  """A scene to make.

  Attributes:
    job: picture and words.
    target: its folder.
    title: before what is said of it.
  """

  job: jobs_lib.Job
  target: pathlib.Path
  title: str = ""

  def partial(self, what: str = "") -> pathlib.Path:
    """A folder for what is not finished."""
    place = self.target.resolve()  # Beside a link's target, on its disk.
    return place.with_name(f"{place.name}{what}{jobs_lib.PARTIAL}")

  @property
  def renderings(self) -> pathlib.Path:
    """The folder of renderings that are to be completed."""
    return self.partial(".renderings")

  def clean(self) -> None:
    """Removes what is not finished."""
    for folder in (self.partial(), self.renderings):
      shutil.rmtree(folder, ignore_errors=True)

  def appear(self) -> None:
    """Gives the scene its name, whatever had it."""
    place = self.target.resolve()
    if place.exists():
      shutil.rmtree(place)
    os.replace(self.partial(), place)


@dataclasses.dataclass(frozen=True)
class _Begun:
  """A scene whose picture is ready."""

  order: Order
  prepared: inputs.Prepared
  kept: kept_files.Kept | None

  @property
  def request(self) -> generation_requests.SceneRequest:
    """What the networks are asked for."""
    job = self.order.job
    return generation_requests.SceneRequest(
      self.prepared, job.prompt, job.seed, job.negative_prompt
    )


@dataclasses.dataclass(frozen=True)
class Batch:
  """What the scenes of a batch share.

  Attributes:
    loaded: the networks, which are read once for each stage.
    settings: of the command.
    done: told what became of each scene, as soon as that is known.
  """

  loaded: pipeline.Pipeline
  settings: scene_files.Settings
  done: Done

  def make(self, orders: Sequence[Order]) -> None:
    """Makes scenes and films that are not there yet.

    A scene or a film that fails stops no other.
    """
    with contextlib.ExitStack() as stack:
      for order in orders:
        order.clean()  # A process that was killed could not.
        stack.callback(order.clean)
      left = [order for order in orders if not self._finished(order)]
      rendered = []
      for order, scene in self._scenes(left):
        found = failures.attempt(self._render, order, scene)
        if isinstance(found, Exception):
          self.done(order.job, found)
        elif self.settings.holes == "background":
          films.finish(self.loaded, found)
        else:
          rendered += found
      films.finish(self.loaded, rendered)

  def _finished(self, order: Order) -> bool:
    """Whether a scene is there with all its films; says so."""
    finished = scene_files.is_finished(
      self.loaded, order.job, self.settings, order.target
    )
    if finished:
      print(f"{order.job.name}: is there already", flush=True)
      self.done(order.job, {})
    return finished

  def _scenes(
    self, orders: Sequence[Order]
  ) -> Iterator[tuple[Order, scene_lib.Scene]]:
    """Each scene when its folder is there; those made before come first."""
    new = []
    for order in orders:
      scene = self._known(order)
      if scene is None:
        new.append(order)
      else:
        print(f"{order.job.name}: the scene is there already", flush=True)
        yield order, scene
    started = time.monotonic()
    begun = list(self._begun(new))
    for one, drawn in zip(begun, failures.each(self._drawn, begun)):
      made = failures.attempt(self._written, one, drawn, started)
      if isinstance(made, Exception):
        self.done(one.order.job, made)
      else:
        films.say(f"{one.order.title}scene.npz and scene.html", started)
        yield one.order, made

  def _known(self, order: Order) -> scene_lib.Scene | None:
    """A scene that an earlier call made; None if there is none to be read."""
    if not scene_files.has_scene(
      self.loaded, order.job, self.settings, order.target
    ):
      return None
    found = failures.attempt(
      scene_lib.Scene.load, order.target / scene_files.SCENE
    )
    if not isinstance(found, Exception):
      return found
    print(f"{failures.one_line(found)}: it is made again", flush=True)
    return None

  def _begun(self, orders: Sequence[Order]) -> Iterator[_Begun]:
    """Pictures and their depth, and folders for what is made of them."""
    jobs = [order.job for order in orders]
    found = scene_files.prepare(self.loaded, jobs, self.settings)
    for order, prepared in zip(orders, found):
      begun = prepared
      if not isinstance(prepared, Exception):
        begun = failures.attempt(self._begin, order, prepared)
      if isinstance(begun, Exception):
        self.done(order.job, begun)
      else:
        yield begun

  def _begin(self, order: Order, prepared: inputs.Prepared) -> _Begun:
    job, partial, kept = order.job, order.partial(), None
    if prepared.invalid_depth:
      print(
        f"{job.depth}: {prepared.invalid_depth} invalid depth values became "
        "the median of the others",
        flush=True,
      )
    print(f"{job.name}: {job.prompt or 'no caption'!r}", flush=True)
    partial.mkdir(parents=True)
    if self.settings.keep:
      kept = kept_files.Kept(partial / kept_files.FOLDER, job)
      kept.picture(prepared)
    return _Begun(order, prepared, kept)

  def _drawn(
    self, begun: Sequence[_Begun]
  ) -> Iterator[scene_lib.Scene | FloatingPointError]:
    """The scene of each picture in turn; all are drawn together."""

    def keep(number: int, *drawn: Any) -> None:
      kept = begun[number].kept
      if kept is not None:
        kept.drawn(*drawn)

    requests = [one.request for one in begun]
    return self.loaded.scenes(requests, self.settings.fps, keep)

  def _written(
    self,
    begun: _Begun,
    drawn: scene_lib.Scene | Exception,
    started: float,
  ) -> scene_lib.Scene:
    """Writes a scene, and gives its folder its name.

    Raises:
      Exception: what was drawn, if that is one.
    """
    if isinstance(drawn, Exception):
      raise drawn
    scene_files.write_scene(
      self.loaded, begun.order.job, begun.prepared, self.settings, drawn,
      begun.order.partial(), started,
    )  # fmt: skip
    begun.order.appear()
    return drawn

  def _render(
    self, order: Order, scene: scene_lib.Scene
  ) -> list[films.Rendering]:
    """Renders the films of a scene that are not there."""
    job, settings = order.job, self.settings
    together, spill, kept = 1, None, None
    cameras = scene_files.missing_films(settings, order.target)
    if settings.holes == "vism":
      together = self.loaded.generator.batch("vism")
      spill = order.renderings
      spill.mkdir()
    if settings.keep:
      kept = kept_files.Kept(order.target / kept_files.FOLDER, job)

    def after_film(found: films.Films) -> None:
      scene_files.note_films(found, order.target)
      if len(found.filled) + len(found.failed) == len(cameras):
        self.done(job, found.failed)

    filming = films.FilmSettings(
      settings.film, settings.holes, job.seed, together, kept, spill
    )
    shoot = films.Shoot(
      order.target, filming, scene.fps, films.Films(), after_film, order.title
    )
    return films.render(self.loaded, scene, cameras, shoot)
