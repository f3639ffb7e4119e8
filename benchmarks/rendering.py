"""Time and memory of the renderers, beside a depth buffer in NumPy.

A made-up scene of a floor, a wall and a near disc is filmed along `forward`
at several numbers of points, one process per row, so that peak memory is the
renderer's own. Times are the best of three after compilation.

  python -m benchmarks.rendering [--out FILE.md] [--frames 49]
"""

import dataclasses
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from more4d_jax.geometry import camera_paths, cameras
from more4d_jax.rendering import render_video, splatting

_SIZES = ((184, 256), (368, 512), (736, 1024))  # 1/4, 1 and 4 times as many.
_RENDERERS = ("tiles", "tiles, filled", "gaussians", "numpy points")
_RUNS = 3


@dataclasses.dataclass(frozen=True)
class Film:
  """A scene and its camera path.

  Attributes:
    tracks: [T h w 3] metres.
    colours: [h w 3] bytes.
    poses: [T 4 4] world_from_camera.
    intrinsics: (fx, fy, cx, cy) in pixels.
  """

  tracks: np.ndarray
  colours: np.ndarray
  poses: np.ndarray
  intrinsics: np.ndarray


def film(size: tuple[int, int], frames: int) -> Film:
  """A floor, a wall and a disc that moves to the right."""
  height, width = size
  y, x = np.mgrid[:height, :width] / height
  depth = np.minimum(6.0, 2.0 / np.maximum(y - 0.4, 1e-3))
  near = (y - 0.5) ** 2 + (x - 0.7) ** 2 < 0.05
  depth = np.where(near, 1.6, depth).astype(np.float32)
  intrinsics = np.asarray(cameras.default_intrinsics(height, width))
  first = np.asarray(cameras.unproject(depth[None], intrinsics[None]))[0]
  tracks = np.repeat(first[None], frames, axis=0)
  tracks[:, near, 0] += 0.004 * np.arange(frames, dtype=np.float32)[:, None]
  colours = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
  centre = camera_paths.scene_centre(first)
  poses = camera_paths.named_path("forward", frames, centre)
  return Film(tracks, colours, np.asarray(poses, np.float32), intrinsics)


def with_tiles(scene: Film, *, fill: bool = False) -> None:
  """The renderer that everything uses."""
  options = render_video.RenderOptions(fill=fill)
  render_video.render_video(
    scene.tracks, scene.colours, scene.poses, scene.intrinsics, options
  )


def with_gaussians(scene: Film) -> None:
  """One frame after the other, so that memory is that of one."""
  height, width = scene.colours.shape[:2]
  colours = render_video.as_float(scene.colours)
  first = jnp.asarray(scene.tracks[0])
  intrinsics = jnp.asarray(scene.intrinsics)
  splats = splatting.of_picture(first, colours, intrinsics)
  for points, pose in zip(scene.tracks, scene.poses, strict=True):
    splats = splats.replace(points=jnp.asarray(points.reshape(-1, 3)))
    found = splatting.splat(splats, pose, intrinsics, height, width)
    jax.block_until_ready(found)


def with_numpy(scene: Film) -> None:
  """Single pixels without footprints: the least that a renderer does."""
  height, width = scene.colours.shape[:2]
  fx, fy, cx, cy = scene.intrinsics
  colours = scene.colours.reshape(-1, 3)
  for points, pose in zip(scene.tracks, scene.poses, strict=True):
    inverse = np.linalg.inv(pose)
    x, y, z = (points.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]).T
    column = np.floor(fx * x / z + cx).astype(int)
    row = np.floor(fy * y / z + cy).astype(int)
    kept = (z > 0) & (column >= 0) & (column < width)
    kept &= (row >= 0) & (row < height)
    (kept,) = np.nonzero(kept)
    kept = kept[np.argsort(-z[kept], kind="stable")]  # The nearest is last.
    picture = np.zeros((height, width, 3), np.uint8)
    picture[row[kept], column[kept]] = colours[kept]


def measure(renderer: str, height: int, width: int, frames: int) -> None:
  """Prints one JSON line: seconds of the first and of the best run, memory."""
  scene = film((height, width), frames)
  run = {
    "tiles": with_tiles,
    "tiles, filled": lambda scene: with_tiles(scene, fill=True),
    "gaussians": with_gaussians,
    "numpy points": with_numpy,
  }[renderer]
  before = _peak()
  times = []
  for _ in range(1 + _RUNS):
    start = time.monotonic()
    run(scene)
    times.append(time.monotonic() - start)
  found = {"first": times[0], "best": min(times[1:]), "peak": _peak() - before}
  print(json.dumps(found), flush=True)


def _peak() -> float:
  """Largest memory of this process so far in MiB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(frames: int) -> list[str]:
  """Rows of the result, as Markdown."""
  rows = [
    "| renderer | points | first run | best run | added peak memory |",
    "|---|---|---|---|---|",
  ]
  for height, width in _SIZES:
    for renderer in _RENDERERS:
      command = [sys.executable, "-m", "benchmarks.rendering", "--renderer"]
      command += [renderer, "--height", str(height), "--width", str(width)]
      command += ["--frames", str(frames)]
      done = subprocess.run(command, capture_output=True, text=True, check=True)
      found = json.loads(done.stdout.splitlines()[-1])
      rows.append(
        f"| {renderer} | {height} x {width} | {found['first']:.2f} s | "
        f"{found['best']:.2f} s | {found['peak']:.0f} MiB |"
      )
      print(rows[-1], flush=True)
  return rows


def main(
  out: pathlib.Path | None = None,
  frames: int = 49,
  renderer: str = "",
  height: int = 368,
  width: int = 512,
) -> None:
  """Measures all renderers, or one of them in this process.

  Args:
    out: Markdown file for the result.
    frames: of the film.
    renderer: the only one to measure.
    height: of its scene and film.
    width: of its scene and film.
  """
  if renderer:
    measure(renderer, height, width, frames)
    return
  load = os.getloadavg()[0]
  text = [
    "# Rendering",
    "",
    f"{frames} frames, as large as the scene's grid, `python -m "
    f"benchmarks.rendering`, {os.cpu_count()} cores, {platform.machine()}, "
    f"jax {jax.__version__}; load average {load:.1f} at the start, so that "
    "times above the number of cores are of a busy machine.",
    "",
    *table(frames),
  ]
  if out is not None:
    out.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
  tyro.cli(main)
