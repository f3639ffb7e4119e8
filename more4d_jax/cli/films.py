"""Films of one scene: rendered, completed several at once, and written."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from more4d_jax import completion, errors, pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.cli import coverage, film_flags, kept_files
from more4d_jax.geometry import camera_paths
from more4d_jax.rendering import render_video
from more4d_jax.viewing import video

# What may go wrong with one scene or film while the others go on.
FAILURES = (errors.UserError, FloatingPointError, OSError, RuntimeError)
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
  """

  film: film_flags.FilmFlags
  holes: str
  seed: int
  together: int = 1
  kept: kept_files.Kept | None = None


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
    self.failed[name] = one_line(error)
    label = camera_paths.label(name)
    print(f"  {label}.mp4 failed: {self.failed[name]}", flush=True)


@dataclasses.dataclass(frozen=True)
class _Rendered:
  """A rendering on its way to a film."""

  name: str
  colours: UInt8[np.ndarray, "T H W 3"]
  covered: Bool[np.ndarray, "T H W"]


@dataclasses.dataclass(frozen=True)
class _Filled:
  """A rendering without holes, and the shares of what drew its pixels."""

  colours: UInt8[np.ndarray, "T H W 3"]
  shares: dict[str, float]


def make(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  cameras: Sequence[str],
  settings: FilmSettings,
  target: pathlib.Path,
  after_film: Callable[[Films], None] | None = None,
) -> Films:
  """Makes both videos of every camera path; one that fails stops no other.

  Args:
    loaded: completes the renderings, which go through each stage together, so
      that networks are read once for all films.
    scene: to film.
    cameras: names of paths, or camera files.
    settings: how.
    target: folder of the videos.
    after_film: called with what became of the films so far.
  """
  found, started = Films(), time.monotonic()
  scene = film_flags.timed(scene, settings.film)
  rendered = []
  for name in cameras:
    try:
      rendered.append(_render(loaded, scene, name, settings, found))
    except FAILURES as error:
      found.fail(name, error)
  filled = _fill(loaded, scene, rendered, settings)
  for number, one in enumerate(rendered):
    try:
      result = next(filled)
    except FAILURES as error:  # Those after it come from the same networks.
      for lost in rendered[number:]:
        found.fail(lost.name, error)
      break
    _keep(scene, one, result, target, found)
    say(camera_paths.label(one.name), started)
    if after_film is not None:
      after_film(found)
  if after_film is not None:
    after_film(found)
  return found


def _render(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  name: str,
  settings: FilmSettings,
  found: Films,
) -> _Rendered:
  """Renders one path; with `background` its holes are filled already."""
  path, reach = film_flags.planned(scene, name, settings.film)
  if settings.holes == "background":
    options = render_video.RenderOptions(fill=True)
    colours, covered = scene.render(path, options)
  else:
    colours, covered = loaded.render(scene, path)
  label = camera_paths.label(name)
  coverage.check(covered, scene, path, label, allow_empty=True)
  found.reach[name], found.coverage[name] = reach, float(covered.mean())
  return _Rendered(name, colours, covered)


def _fill(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  rendered: Sequence[_Rendered],
  settings: FilmSettings,
) -> Iterator[_Filled]:
  """Colours without holes of each rendering in turn, and what drew them."""
  films = [(one.colours, one.covered) for one in rendered]
  if settings.kept is not None:
    labels = [camera_paths.label(one.name) for one in rendered]
    settings.kept.renderings(labels, films)
  if settings.holes == "background":
    for one in rendered:
      share = float(one.covered.mean())
      yield _Filled(one.colours, _shares(settings, share))
    return
  # As many in each batch, so that the networks are compiled once.
  count = max(1, -(-len(films) // settings.together))
  batch = max(1, -(-len(films) // count))
  keeps = loaded.networks.sampler("vism").keep_rendered
  completed = loaded.complete_films(scene, films, settings.seed, batch)
  for one, colours in zip(rendered, completed):
    share = completion.kept_share(one.covered, loaded.size, keep_rendered=keeps)
    yield _Filled(colours, _shares(settings, share))


def _shares(settings: FilmSettings, rendered: float) -> dict[str, float]:
  return {"rendered": rendered, settings.holes: 1 - rendered}


def _keep(
  scene: scene_lib.Scene,
  one: _Rendered,
  filled: _Filled,
  target: pathlib.Path,
  found: Films,
) -> None:
  """Writes the bare rendering and the film, and notes what became of it."""
  points = np.where(one.covered[..., None], one.colours, 0)
  label = camera_paths.label(one.name)
  try:
    for frames, suffix in ((points, "_points"), (filled.colours, "")):
      video.write_video(
        target / f"{label}{suffix}.mp4", frames, scene.fps, min_side=_MIN_SIDE
      )
  except FAILURES as error:
    found.fail(one.name, error)
  else:
    found.filled[one.name] = filled.shares


def one_line(error: Exception) -> str:
  """An error's message without line breaks."""
  return " ".join(str(error).split()) or type(error).__name__


def say(what: str, started: float) -> None:
  """Prints how long something has taken."""
  print(f"  {what:<32}{time.monotonic() - started:7.1f} s", flush=True)
