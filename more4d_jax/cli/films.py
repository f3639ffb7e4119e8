"""Films of one scene: rendered, completed several at once, and written."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from more4d_jax import completion, errors, pipeline
from more4d_jax import scene as scene_lib
from more4d_jax.cli import coverage, film_flags, kept_files
from more4d_jax.geometry import camera_paths
from more4d_jax.models import variants
from more4d_jax.rendering import render_video
from more4d_jax.viewing import video

# What may go wrong with one scene or film while the others go on.
FAILURES = (errors.UserError, FloatingPointError, OSError, RuntimeError)
_TOGETHER = 4  # Films that are completed together by small networks.
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


def together(loaded: pipeline.Pipeline, wanted: int | None) -> int:
  """How many films go as one batch: what users want, else what is wise.

  A network with published weights fills a device with one film.
  """
  if wanted is not None:
    return wanted
  size = str(loaded.networks.network("vism").metadata.get("size", ""))
  known = size in variants.VARIANTS
  return 1 if known and variants.get(size).published else _TOGETHER


def make(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  cameras: Sequence[str],
  settings: FilmSettings,
  target: pathlib.Path,
  after_batch: Callable[[Films], None] | None = None,
) -> Films:
  """Makes both videos of every camera path; one that fails stops no other.

  Args:
    loaded: completes the renderings.
    scene: to film.
    cameras: names of paths, or camera files.
    settings: how.
    target: folder of the videos.
    after_batch: called with what became of the films so far.
  """
  found, started = Films(), time.monotonic()
  scene = film_flags.timed(scene, settings.film)
  batches = max(1, -(-len(cameras) // settings.together))
  size = -(-len(cameras) // batches)
  for first in range(0, len(cameras), size):
    rendered = []
    for name in cameras[first : first + size]:
      try:
        rendered.append(_render(scene, name, settings, found))
      except FAILURES as error:
        found.fail(name, error)
    try:
      if settings.kept is not None:
        settings.kept.renderings(
          [camera_paths.label(one.name) for one in rendered],
          [(one.colours, one.covered) for one in rendered],
        )
      filled = _fill(loaded, scene, rendered, settings, size)
    except FAILURES as error:
      for one in rendered:
        found.fail(one.name, error)
    else:
      for one, result in zip(rendered, filled, strict=True):
        _keep(scene, one, result, target, found)
      say(", ".join(camera_paths.label(one.name) for one in rendered), started)
    if after_batch is not None:
      after_batch(found)
  return found


def _render(
  scene: scene_lib.Scene, name: str, settings: FilmSettings, found: Films
) -> _Rendered:
  """Renders one path; with `background` its holes are filled already."""
  path, reach = film_flags.planned(scene, name, settings.film)
  options = render_video.RenderOptions(fill=settings.holes == "background")
  colours, covered = scene.render(path, options)
  label = camera_paths.label(name)
  coverage.check(covered, scene, path, label, allow_empty=True)
  found.reach[name], found.coverage[name] = reach, float(covered.mean())
  return _Rendered(name, colours, covered)


def _fill(
  loaded: pipeline.Pipeline,
  scene: scene_lib.Scene,
  rendered: Sequence[_Rendered],
  settings: FilmSettings,
  size: int,
) -> list[_Filled]:
  """Colours without holes of each rendering, and what drew them.

  Args:
    loaded: completes the renderings.
    scene: that was rendered.
    rendered: of one batch.
    settings: what fills the holes.
    size: of every batch; one that lacks films is filled up, so that the
      networks are compiled once.
  """
  if settings.holes == "background" or not rendered:
    return [
      _Filled(one.colours, _shares(settings, float(one.covered.mean())))
      for one in rendered
    ]
  films = [(one.colours, one.covered) for one in rendered]
  films += films[-1:] * (size - len(films))
  filled = loaded.complete_films(scene, films, settings.seed)
  keeps = loaded.networks.sampler("vism").keep_rendered
  kept = [
    completion.kept_share(one.covered, loaded.size, keep_rendered=keeps)
    for one in rendered
  ]
  return [
    _Filled(colours, _shares(settings, share))
    for colours, share in zip(filled, kept)
  ]


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
