"""The page of `more4d serve`, by gradio."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any, no_type_check

import gradio

from more4d_jax.cli import failures, serve_jobs
from more4d_jax.geometry import camera_paths

_KEPT = 3600  # Seconds that pictures and results stay.
_LOOKED = 300  # Seconds from one removal to the next.
_WAITING = 8  # Jobs that may wait for the one that runs.
_ONE = {"concurrency_id": "networks", "concurrency_limit": 1}
_STYLE = """
.gradio-container { max-width: 1320px !important; }
#scene iframe { width: 100%; height: 640px; border: 0; border-radius: 12px; }
"""
_HEAD = """# A picture becomes a 4D scene
Choose a picture, say what moves, and look at it from any side."""


def build(workshop: serve_jobs.Workshop) -> gradio.Blocks:
  """The page; nothing is served yet."""
  blocks = gradio.Blocks(
    title="more4d",
    analytics_enabled=False,
    delete_cache=(_LOOKED, _KEPT),
  )
  with blocks:
    gradio.Markdown(_HEAD)
    prepared = gradio.State(time_to_live=_KEPT)
    with gradio.Row():
      with gradio.Column(scale=1, min_width=340):
        asked = _questions()
      with gradio.Column(scale=2, min_width=480):
        shown = _answers()
    _connect_previews(workshop, prepared, asked, shown)
    _connect_making(workshop, prepared, asked, shown)
  return blocks


def launch(
  blocks: gradio.Blocks,
  workshop: serve_jobs.Workshop,
  host: str,
  port: int | None,
  max_bytes: int,
) -> None:
  """Serves the page, and removes old results while it does.

  Args:
    blocks: the page.
    workshop: that it was built for.
    host: address to serve at.
    port: to serve at; None for the first free one.
    max_bytes: of an uploaded file.
  """
  sans = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]
  blocks.queue(max_size=_WAITING).launch(
    server_name=host,
    server_port=port,
    share=False,
    quiet=True,
    prevent_thread_lock=True,
    max_file_size=max_bytes,
    allowed_paths=[str(workshop.folder)],
    footer_links=[],
    run_history=False,
    ssr_mode=False,
    css=_STYLE,
    theme=gradio.themes.Soft(
      primary_hue="orange", font=sans, font_mono=["monospace"]
    ),
  )
  threading.Thread(target=_remove_old, args=[workshop], daemon=True).start()


def _questions() -> dict[str, Any]:
  asked = {
    "image": gradio.File(
      label="Picture",
      file_types=["image"],
      type="filepath",
      height=140,
      elem_id="image",
    ),
    "example": gradio.Button("Draw an example", size="sm", elem_id="example"),
    "prompt": gradio.Textbox(
      label="What moves, and how",
      placeholder="a red ball rolls slowly to the left",
      lines=2,
      max_length=1000,
      elem_id="prompt",
    ),
    "camera": gradio.Dropdown(
      list(camera_paths.NAMES),
      value="circular",
      label="Camera path to preview",
      info="Filmed from the depth alone, before anything moves",
      elem_id="camera",
    ),
    "cameras": gradio.Dropdown(
      list(camera_paths.NAMES),
      value=["circular"],
      multiselect=True,
      max_choices=len(camera_paths.DEFAULTS),
      label="Films",
      elem_id="cameras",
    ),
    "seed": gradio.Number(
      0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1
    ),
  }
  asked["make"] = gradio.Button(
    "Make the scene", variant="primary", size="lg", elem_id="make"
  )
  return asked


def _answers() -> dict[str, Any]:
  with gradio.Row():
    picture = gradio.Image(
      label="Picture", interactive=False, height=230, elem_id="picture"
    )
    depth = gradio.Image(
      label="Depth: near red, far blue",
      interactive=False,
      height=230,
      elem_id="depth",
    )
    path = gradio.Video(
      label="Camera path", interactive=False, height=230, autoplay=True,
      loop=True, elem_id="path",
    )  # fmt: skip
  said = gradio.Markdown(elem_id="said")
  scene = gradio.HTML(elem_id="scene")
  films_shown = gradio.Gallery(
    label="Films", columns=3, interactive=False, elem_id="films", visible=False
  )
  files = gradio.Files(label="Download", elem_id="files", visible=False)
  return {
    "picture": picture,
    "depth": depth,
    "path": path,
    "said": said,
    "scene": scene,
    "films": films_shown,
    "files": files,
  }


def _connect_previews(
  workshop: serve_jobs.Workshop,
  prepared: gradio.State,
  asked: dict[str, Any],
  shown: dict[str, Any],
) -> None:
  """What happens when a person chooses a picture or a path."""

  def look(image):
    if image is None:
      return None, None, None
    with _said():
      found = workshop.prepare(image)
      grid = found.finer or found
      return found, grid.image, workshop.depth_preview(found)

  def preview(found, camera):
    if found is None:
      return None
    with _said():
      return workshop.path_preview(found, camera)

  looked = asked["image"].change(
    look,
    asked["image"],
    [prepared, shown["picture"], shown["depth"]],
    api_visibility="private",
    **_ONE,
  )
  for event in (looked.success, asked["camera"].change):
    event(
      preview,
      [prepared, asked["camera"]],
      shown["path"],
      api_visibility="private",
      **_ONE,
    )
  asked["example"].click(
    workshop.example,
    None,
    [asked["image"], asked["prompt"]],
    api_visibility="private",
    **_ONE,
  )


def _connect_making(
  workshop: serve_jobs.Workshop,
  prepared: gradio.State,
  asked: dict[str, Any],
  shown: dict[str, Any],
) -> None:
  """What happens when a person asks for the scene."""

  # gradio asks whether it is a generator, which a wrapper would hide.
  @no_type_check
  def make(found, prompt, cameras, seed, progress=gradio.Progress()):  # noqa: B008
    if found is None:
      raise _problem("Choose a picture first.")

    def report(what, done, total):
      progress((done, total), what)

    with _said():
      for now in workshop.make(
        found, prompt, cameras or [], int(seed or 0), report
      ):
        progress(now.done, now.words)
        yield _progress(now)

  asked["make"].click(
    make,
    [prepared, asked["prompt"], asked["cameras"], asked["seed"]],
    [shown[name] for name in ("said", "scene", "films", "files")],
    trigger_mode="once",  # A second click while it runs does nothing.
    show_progress_on=shown["said"],
    api_visibility="private",
    **_ONE,
  )


def _progress(now: serve_jobs.Progress) -> tuple:
  return (
    f"**{now.words}**",
    serve_jobs.frame_of(now.page),
    gradio.Gallery(value=list(now.films), visible=bool(now.films)),
    gradio.Files(value=list(now.files), visible=now.done == 1),
  )


@contextlib.contextmanager
def _said() -> Iterator[None]:
  """Shows a person's mistake, or what failed, in one line on the page."""
  try:
    yield
  except failures.FAILURES as error:
    raise _problem(failures.one_line(error)) from error


def _problem(line: str) -> gradio.Error:
  """A line that stays on the page until it is closed."""
  return gradio.Error(line, duration=None, print_exception=False)


def _remove_old(workshop: serve_jobs.Workshop) -> None:
  """Removes folders of results that are older than an hour."""
  while True:
    time.sleep(_LOOKED)
    # The server may end meanwhile, and remove all of them.
    with contextlib.suppress(FileNotFoundError):
      for folder in workshop.folder.iterdir():
        old = time.time() - folder.stat().st_mtime > _KEPT
        if old and folder.name != "gradio":  # Which removes its own.
          shutil.rmtree(folder, ignore_errors=True)
