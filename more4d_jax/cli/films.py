"""Films of scenes: rendered, completed together, and written.

The renderings of one scene after the other are made first; then all of them go
through the networks together, so that these are read once.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from more4d_jax import batches, completion, generation_requests, pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.cli import coverage, failures, film_flags, kept_files
from more4d_jax.geometry import camera_paths
from more4d_jax.rendering import render_video
from more4d_jax.viewing import video

_MIN_SIDE = 256  # Pixels; smaller videos are enlarged.


@dataclasses.dataclass(frozen=True)
class FilmSettings:
  """How the films of a scene are made.

  Attributes:
    film: reach, time and what else the flags say.
    holes: "vism" or "background".
    seed: of the noise.
    together: films that are completed in one batch, at most.
    kept: keeps what stands between a scene and its films; None for nobody.
    spill: folder for files of the renderings until they are completed; None
      keeps them in memory.
  """

  film: film_flags.FilmFlags
  holes: str
  seed: int
  together: int = 1
  kept: kept_files.Kept | None = None
  spill: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Films:
  """What became of the films of a scene, by camera path.

  Attributes:
    coverage: share of the pixels without holes.
    filled: shares of the pixels by what drew them, "rendered" or a filler.
    reach: share of the path's motion.
    failed: why there is no film.
  """

  coverage: dict[str, float] = dataclasses.field(default_factory=dict)
  filled: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
  reach: dict[str, float] = dataclasses.field(default_factory=dict)
  failed: dict[str, str] = dataclasses.field(default_factory=dict)

  def fail(self, name: str, error: Exception) -> None:
    """Notes that a film failed, and says so."""
    self.coverage.pop(name, None)
    self.filled.pop(name, None)
    self.reach.pop(name, None)
    self.failed[name] = failures.one_line(error)
    label = camera_paths.label(name)
    print(f"  {label}.mp4 failed: {self.failed[name]}", flush=True)


@dataclasses.dataclass(frozen=True)
class Shoot:
  """A scene whose films are being made.

  Attributes:
    target: folder of the videos.
    settings: how.
    fps: frames per second.
    found: what became of the films so far.
    after_film: called with that whenever it changes.
    title: of the scene, before what is said of its films.
  """

  target: pathlib.Path
  settings: FilmSettings
  fps: float | int
  found: Films
  after_film: Callable[[Films], None]
  title: str


@dataclasses.dataclass(frozen=True)
class Rendering:
  """A rendering on its way to a film.

  Attributes:
    shoot: the scene's.
    name: of the camera path.
    request: with the rendering.
  """

  shoot: Shoot
  name: str
  request: generation_requests.FilmRequest

  @property
  def label(self) -> str:
    """The name of its files."""
    return camera_paths.label(self.name)


def make(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  cameras: Sequence[str],
  settings: FilmSettings,
  target: pathlib.Path,
  after_film: Callable[[Films], None] = lambda found: None,
) -> Films:
  """Makes both videos of every camera path; one that fails stops no other.

  Args:
    loaded: completes the renderings.
    scene: to film.
    cameras: names of paths, or camera files.
    settings: how.
    target: folder of the videos.
    after_film: called with what became of the films so far.
  """
  shoot = Shoot(target, settings, scene.fps, Films(), after_film, "")
  finish(loaded, render(loaded, scene, cameras, shoot))
  return shoot.found


def render(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  cameras: Sequence[str],
  shoot: Shoot,
) -> list[Rendering]:
  """Renders a scene along camera paths; what fails is noted.

  Args:
    loaded: says how its networks are shown renderings.
    scene: to film.
    cameras: names of paths, or camera files.
    shoot: of the scene.
  """
  scene = film_flags.timed(scene, shoot.settings.film)
  rendered = []
  for name in cameras:
    try:
      rendered.append(_render(loaded, scene, name, shoot))
    except failures.FAILURES as error:
      shoot.found.fail(name, error)
  shoot.after_film(shoot.found)
  return rendered


def _render(
  loaded: pipeline.Pipeline, scene: scene_lib.Scene, name: str, shoot: Shoot
) -> Rendering:
  """Renders one path; with `background` its holes are filled already."""
  settings, found = shoot.settings, shoot.found
  path, reach = film_flags.planned(scene, name, settings.film)
  if settings.holes == "background":
    options = render_video.RenderOptions(fill=True)
    film = scene.render(path, options)
  else:
    film = loaded.render(scene, path)
  label, covered = camera_paths.label(name), film[1]
  coverage.check(covered, scene, path, label, allow_empty=True)
  if settings.kept is not None:
    settings.kept.rendering(label, *film)
  found.reach[name], found.coverage[name] = reach, float(covered.mean())
  if settings.spill is not None:
    film = tuple(
      _spilled(values, settings.spill / f"{label}_{part}.npy")
      for part, values in zip(("colours", "coverage"), film)
    )
  request = generation_requests.FilmRequest.of(scene, film, settings.seed)
  return Rendering(shoot, name, request)


def _spilled(values: np.ndarray, file: pathlib.Path) -> np.ndarray:
  """The same values, read from a file when they are needed."""
  np.save(file, values)
  return np.load(file, mmap_mode="r")


def finish(loaded: pipeline.Pipeline, rendered: Sequence[Rendering]) -> None:
  """Fills the holes of renderings, all together, and writes the videos.

  What becomes of each is noted in its scene's shoot.

  Args:
    loaded: completes the renderings.
    rendered: of one scene or several, with the same settings.
  """
  started = time.monotonic()
  for one, filled in zip(rendered, _filled(loaded, rendered)):
    found = one.shoot.found
    try:
      if isinstance(filled, Exception):
        raise filled
      _write(one, filled)
    except failures.FAILURES as error:
      found.fail(one.name, error)
    else:
      found.filled[one.name] = _shares(loaded, one)
      say(f"{one.shoot.title}{one.label}", started)
    one.shoot.after_film(found)


def _filled(
  loaded: pipeline.Pipeline, rendered: Sequence[Rendering]
) -> Iterator[UInt8[np.ndarray, "T H W 3"] | Exception]:
  """Colours without holes of each rendering in turn, or why there are none."""
  if not rendered:
    return
  settings = rendered[0].shoot.settings
  if settings.holes == "background":
    for one in rendered:
      yield one.request.rendering
    return

  def complete(
    chosen: Sequence[Rendering],
  ) -> Iterator[UInt8[np.ndarray, "T H W 3"] | FloatingPointError]:
    return loaded.films(
      [one.request for one in chosen],
      batches.even(len(chosen), settings.together),
      lambda number, *drawn: _keep(chosen[number], *drawn),
    )

  yield from failures.each(complete, rendered)


def _keep(one: Rendering, *drawn: Any) -> None:
  """Keeps what was drawn of a rendering, if that is wanted."""
  if one.shoot.settings.kept is not None:
    one.shoot.settings.kept.drawn(*drawn, label=one.label)


def _shares(loaded: pipeline.Pipeline, one: Rendering) -> dict[str, float]:
  """Shares of a film's pixels by what drew them."""
  covered, holes = one.request.coverage, one.shoot.settings.holes
  if holes == "background":
    share = float(covered.mean())
  else:
    keeps = loaded.networks.sampler("vism").keep_rendered
    size = loaded.networks.size("vism")
    share = completion.kept_share(covered, size, keep_rendered=keeps)
  return {"rendered": share, holes: 1 - share}


def _write(one: Rendering, filled: UInt8[np.ndarray, "T H W 3"]) -> None:
  """Writes the bare rendering and the film."""
  shoot, request = one.shoot, one.request
  points = np.where(request.coverage[..., None], request.rendering, 0)
  for frames, suffix in ((points, "_points"), (filled, "")):
    file = shoot.target / f"{one.label}{suffix}.mp4"
    video.write_video(file, frames, shoot.fps, min_side=_MIN_SIDE)


def say(what: str, started: float) -> None:
  """Prints how long something has taken."""
  print(f"  {what:<32}{time.monotonic() - started:7.1f} s", flush=True)
