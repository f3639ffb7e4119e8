"""What the page of `more4d serve` asks for, without the page."""

import dataclasses
import html
import itertools
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from more4d_jax import (
  errors,
  generation,
  inputs,
  pictures,
  pipeline,
  scene_size,
)
from more4d_jax import scene as scene_lib
from more4d_jax.cli import coverage, film_flags, films, generate
from more4d_jax.geometry import camera_paths
from more4d_jax.rendering import render_video
from more4d_jax.sampling import stages
from more4d_jax.viewing import export, panels, video

_EXAMPLES = itertools.count(3)  # Numbers of procedural scenes.
_EXAMPLE_SIZE = (288, 384)


@dataclasses.dataclass(frozen=True)
class Progress:
  """What is finished of a scene.

  Attributes:
    done: share of the work.
    words: what goes on, for people.
    page: of the scene, when it is there.
    films: that are there.
    files: to download.
  """

  done: float
  words: str
  page: pathlib.Path | None = None
  films: tuple[str, ...] = ()
  files: tuple[str, ...] = ()


class Workshop:
  """The networks of one checkpoint, and the folder for what they make."""

  def __init__(
    self,
    load: Callable[[generation.Options], pipeline.Pipeline],
    folder: pathlib.Path,
    size: str = "picture",
    max_pixels: int | None = None,
  ):
    """Checks that the checkpoint makes scenes of pictures alone.

    Args:
      load: reads the checkpoint.
      folder: for what is made.
      size: of scenes, see `scene_size.parse`.
      max_pixels: of a picture.

    Raises:
      UserError: if it lacks a network, or the size is none.
    """
    self._report: stages.Report = stages.silent
    options = generation.Options(report=lambda *now: self._report(*now))
    loaded = load(options)
    for kind in ("video_vae", "motion_vae", "strag", "depth"):
      loaded.networks.network(kind)
    self.folder = folder
    self._loaded = loaded
    self._holes = generate.filler(loaded)
    self._size = scene_size.parse(size)
    self._max_pixels = max_pixels

  def prepare(self, image: str) -> inputs.Prepared:
    """A picture with its estimated depth.

    Raises:
      UserError: if the file is no picture, or too large.
    """
    picture = pictures.from_file(image, self._max_pixels)
    return self._loaded.prepare_picture(picture, None, size=self._size)

  def example(self) -> tuple[str, str]:
    """A drawn picture, another one each time, and what moves in it."""
    from data_pipelines.procedural import records

    height, width = _EXAMPLE_SIZE
    options = records.RecordOptions(1, height, width, light=True, version=2)
    record = records.make_record(next(_EXAMPLES), options)
    path = self._new_folder() / "example.png"
    PIL.Image.fromarray(record.video[0]).save(path)
    return str(path), record.caption

  def depth_preview(
    self, prepared: inputs.Prepared
  ) -> UInt8[np.ndarray, "H W 3"]:
    """The depth in colours, near red and far blue."""
    grid = prepared.finer or prepared
    return panels.depth_colours(grid.depth[None])[0]

  def path_preview(self, prepared: inputs.Prepared, camera: str) -> str:
    """Films the standing picture along a camera path, with no network."""
    frames = self._loaded.size[0]
    scene = coverage.standing(prepared.finer or prepared, frames)
    scene = dataclasses.replace(scene, fps=self._loaded.fps)
    path, _ = film_flags.planned(scene, camera, film_flags.DEFAULT)
    options = render_video.RenderOptions(fill=True)
    colours, _ = scene.render(path, options)
    out = self._new_folder() / f"{camera}.mp4"
    video.write_video(out, colours, scene.fps, min_side=256)
    return str(out)

  def make(
    self,
    prepared: inputs.Prepared,
    prompt: str,
    cameras: Sequence[str],
    seed: int,
    report: stages.Report = stages.silent,
  ) -> Iterator[Progress]:
    """Makes a scene and its films, and says how far it is.

    Args:
      prepared: the picture and its depth.
      prompt: what moves and how.
      cameras: names of the films' paths.
      seed: of the noise.
      report: told how far each stage of the networks is.

    Raises:
      UserError: if a film fails.
      FloatingPointError: if the networks produce a number that is not finite.
    """
    self._report, folder = report, self._new_folder()
    steps = 2 + len(cameras)
    yield Progress(0.02, "The points start to move")
    scene = self._loaded.scene(prepared, prompt, seed)
    yield Progress(1 / steps, "The scene is packed")
    scene.save(folder / "scene.npz", compact=True)
    page = export.export(scene.on_surfaces(), ["html"], folder)["html"]
    found = Progress(
      2 / steps, "", pathlib.Path(page), (), (str(folder / "scene.npz"), page)
    )
    for number, camera in enumerate(cameras, start=2):
      yield dataclasses.replace(
        found, done=number / steps, words=f"Filming {camera}"
      )
      film = self._film(scene, camera, seed, folder)
      found = dataclasses.replace(
        found, films=(*found.films, film), files=(*found.files, film)
      )
    yield dataclasses.replace(found, done=1.0, words="Done")

  def _film(
    self, scene: scene_lib.Scene, camera: str, seed: int, folder: pathlib.Path
  ) -> str:
    settings = films.FilmSettings(film_flags.DEFAULT, self._holes, seed)
    failed = films.make(self._loaded, scene, [camera], settings, folder).failed
    if failed:
      raise errors.UserError(f"the film {camera} failed: {failed[camera]}")
    return str(folder / f"{camera_paths.label(camera)}.mp4")

  def _new_folder(self) -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(dir=self.folder))


def frame_of(page: pathlib.Path | None) -> str:
  """The element that shows a scene's page inside another."""
  if page is None:
    return ""
  address = html.escape(f"/gradio_api/file={page}")
  return (
    f'<iframe src="{address}" title="The scene" sandbox="allow-scripts" '
    'allow="fullscreen"></iframe>'
  )
