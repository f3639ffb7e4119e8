"""`more4d serve`: pictures to scenes in the browser."""

import os
import pathlib
import tempfile
from typing import Literal

from more4d_jax import errors, pipeline
from more4d_jax.cli import default_checkpoint, serve_jobs


def serve(
  *,
  checkpoint: pathlib.Path | None = None,
  host: str = "127.0.0.1",
  port: int = 7860,
  scene_size: str = "picture",
  dtype: Literal["bfloat16", "float32", "int8"] | None = None,
  max_megabytes: float = 20.0,
  max_megapixels: float = 32.0,
) -> None:
  """Serves a page that makes scenes of pictures, until interrupted.

  One scene is made at a time, others wait their turn. Pictures and results
  lie in a temporary folder; they go an hour after they came, and when the
  server ends.

  Args:
    checkpoint: directory made by `more4d bundle`; the one that ships with the
      package when left out.
    host: address to serve at; 0.0.0.0 admits other machines, and anyone who
      reaches it may use this one.
    port: to serve at.
    scene_size: of the scenes, see `more4d generate`.
    dtype: what networks compute in, see `more4d generate`.
    max_megabytes: of a picture's file.
    max_megapixels: of a picture.
  """
  if not 0 < port < 65536:
    raise errors.UserError(f"expected a port between 1 and 65535, found {port}")
  if not (max_megabytes > 0 and max_megapixels > 0):
    raise errors.UserError(
      "expected positive --max-megabytes and --max-megapixels, found "
      f"{max_megabytes:g} and {max_megapixels:g}"
    )
  default_checkpoint.say(checkpoint)
  with tempfile.TemporaryDirectory(prefix="more4d-serve-") as folder:
    # Read by gradio when a page is built: where uploads go.
    os.environ["GRADIO_TEMP_DIR"] = os.path.join(folder, "gradio")
    from more4d_jax.cli import serve_page

    workshop = serve_jobs.Workshop(
      lambda options: pipeline.load(checkpoint, dtype=dtype, options=options),
      pathlib.Path(folder),
      scene_size,
      int(max_megapixels * 1e6),
    )
    page = serve_page.build(workshop)
    serve_page.launch(page, workshop, host, port, int(max_megabytes * 1e6))
    print(f"http://{host}:{port} (Ctrl-C ends)", flush=True)
    try:
      page.block_thread()
    finally:
      page.close(verbose=False)
