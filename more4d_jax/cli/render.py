"""`more4d render`: a scene along a camera path to mp4."""

import pathlib

from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.cli import coverage, film_flags, outputs
from more4d_jax.geometry import camera_paths

_MAX_FRAMES = 10_000
_MAX_SIDE = 8_192  # Pixels, of what H.264 players show.


def render(
  scene: pathlib.Path,
  camera: str,
  out: pathlib.Path,
  *,
  height: int = 0,
  width: int = 0,
  splat: float = 0.7,
  fill: bool = False,
  min_side: int = 256,
  frames: int = 0,
  film: film_flags.FilmFlags = film_flags.DEFAULT,
) -> None:
  """Renders a scene along a camera path; needs no model.

  Args:
    scene: the scene.npz that `more4d generate` wrote.
    camera: name of a path, or a camera file: ours (.json, .npz; intrinsics are
      scaled to the rendered size), COLMAP, nerfstudio, RealEstate10K, Lyra.
    out: the mp4 file to write.
    height: of the rendered video; 0 takes the scene's.
    width: of the rendered video; 0 takes the scene's.
    splat: half size of a point in steps to its neighbours on the same surface;
      0 draws single pixels.
    fill: gives holes the colours of what lies behind them.
    min_side: pixels are repeated until the shorter side of the mp4 reaches
      this size; 0 keeps the rendered size.
    frames: of the film; 0 takes the scene's.
    film: how the scene is filmed.
  """
  if out.suffix.lower() != ".mp4":
    raise errors.UserError(f"{out}: expected an output file ending in .mp4")
  sizes = (height, width, min_side)
  if not (0 <= min(sizes) <= max(sizes) <= _MAX_SIDE and 0 <= splat <= 100):
    raise errors.UserError(
      f"expected --height, --width and --min-side of 0 to {_MAX_SIDE} and "
      f"--splat of 0 to 100, found {height}, {width}, {min_side} and {splat:g}"
    )
  if not 0 <= frames <= _MAX_FRAMES:
    raise errors.UserError(
      f"expected --frames of 0 to {_MAX_FRAMES}, found {frames}"
    )
  film_flags.check(film)
  outputs.check_file(out)
  camera_paths.check(camera)
  loaded = film_flags.timed(scene_lib.Scene.load(scene), film, frames)

  from more4d_jax.rendering import render_video
  from more4d_jax.viewing import video

  options = render_video.RenderOptions(height, width, splat, fill=fill)
  path, _ = film_flags.planned(loaded, camera, film)
  pictures, covered = loaded.render(path, options)
  coverage.check(covered, loaded, path, camera, allow_empty=film.allow_empty)
  out.parent.mkdir(parents=True, exist_ok=True)
  video.write_video(out, pictures, loaded.fps, min_side=min_side)
  count, rows, columns = covered.shape
  print(
    f"{out}: {count} frames of {columns}x{rows}, "
    f"{100 * covered.mean():.1f} % of the pixels covered"
  )
