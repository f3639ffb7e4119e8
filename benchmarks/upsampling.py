"""Scenes brought from a coarse grid to a fine one, against ray-cast truth.

Run from the repository: python benchmarks/upsampling.py --out FILE.md
Each procedural scene of version 2 is rendered and tracked at both sizes. The
true coarse motion is brought to the fine grid by bilinear interpolation and by
`geometry.upsampling`, lifted with the true fine depth and compared with the
true fine tracks: end-point errors beside object boundaries, which are the fine
pixels that bilinear interpolation across a boundary can reach, and elsewhere.
A second, moving camera films the coarse scene at its own size, enlarged
bilinearly, and the upsampled scene; both are compared with the ray-cast film,
over the pixels that both cover.
"""

import argparse
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

from data_pipelines.procedural import records, scenes
from data_pipelines.procedural.rendering import shading, tracking
from more4d_jax.evaluation import video_metrics
from more4d_jax.geometry import cameras, upsampling
from more4d_jax.rendering import render_video


@dataclasses.dataclass(frozen=True)
class View:
  """What the first camera sees of a scene, at one size.

  Attributes:
    tracks: metres, in the first camera's frame.
    colours: of the first frame.
    number: of the primitive at each pixel of the first frame.
    intrinsics: (fx, fy, cx, cy) in pixels.
  """

  tracks: Float32[np.ndarray, "T H W 3"]
  colours: UInt8[np.ndarray, "H W 3"]
  number: Int[np.ndarray, "H W"]
  intrinsics: Float32[np.ndarray, "4"]


@dataclasses.dataclass(frozen=True)
class Case:
  """One scene at two sizes.

  Attributes:
    coarse, fine: the scene.
    poses: of another camera.
    film: the truth from there, at the fine size.
  """

  coarse: View
  fine: View
  poses: Float32[np.ndarray, "T 4 4"]
  film: UInt8[np.ndarray, "T H W 3"]


@dataclasses.dataclass(frozen=True)
class Figures:
  """What was measured on one scene.

  Attributes:
    boundary: mean end-point error in metres beside object boundaries, of
      bilinear interpolation and of ours; NaN without boundaries.
    elsewhere: the same of all other pixels.
    psnr: of the film of the enlarged coarse scene and of ours, in decibels.
  """

  boundary: tuple[float, float]
  elsewhere: tuple[float, float]
  psnr: tuple[float, float]


def make_case(
  seed: int, size: tuple[int, int], factor: int, frames: int = 9
) -> Case:
  """Renders and tracks a scene of version 2 at `size` and `factor` times it."""
  views = []
  for scale in (1, factor):
    options = records.RecordOptions(
      frames, size[0] * scale, size[1] * scale, version=2
    )
    scene = scenes.make_scene(seed, records.scene_options(options))
    renderer = shading.Renderer(scene.world, scene.camera)
    first = renderer.video(1)
    tracks, _ = tracking.track(renderer, first.depth[0], first.number[0])
    views.append(
      View(
        tracks.astype(np.float32),
        first.frames[0],
        first.number[0],
        scene.camera.intrinsics.astype(np.float32),
      )
    )
  camera = scene.other_camera(0)
  poses = scene.first_from_stage() @ camera.stage_from_camera
  film = shading.Renderer(scene.world, camera).video().frames
  return Case(*views, poses.astype(np.float32), film)


def measure(case: Case) -> Figures:
  """All figures of a scene."""
  coarse, fine = case.coarse, case.fine
  size = fine.number.shape
  ours, bilinear = _upsample(coarse.tracks, fine)
  errors = [
    np.linalg.norm(found[1:] - fine.tracks[1:], axis=-1).mean(axis=0)
    for found in (bilinear, ours)
  ]
  near = beside_boundaries(fine.number, size[0] // coarse.number.shape[0])
  film, covered = _film(coarse.tracks, coarse, case.poses)
  film, covered = _enlarge(film, size), _enlarge(covered, size)
  our_film, our_covered = _film(ours, fine, case.poses)
  both = covered & our_covered
  return Figures(
    tuple(float(e[near].mean()) if near.any() else np.nan for e in errors),
    tuple(float(e[~near].mean()) for e in errors),
    tuple(video_metrics.psnr(f, case.film, both) for f in (film, our_film)),
  )


def beside_boundaries(
  number: Int[np.ndarray, "H W"], reach: int
) -> Bool[np.ndarray, "H W"]:
  """True within `reach` rows and columns of a pixel of another number."""
  size = 2 * reach + 1
  padded = np.pad(number, reach, mode="edge")
  windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
  return windows.min(axis=(2, 3)) != windows.max(axis=(2, 3))


def _upsample(
  coarse: Float32[np.ndarray, "T h w 3"], fine: View
) -> tuple[Float32[np.ndarray, "T H W 3"], Float32[np.ndarray, "T H W 3"]]:
  """By `geometry.upsampling`, and bilinearly."""
  found = _both(
    jnp.asarray(coarse),
    jnp.asarray(fine.tracks[0, ..., 2]),
    jnp.asarray(fine.colours, jnp.float32) / 255,
    jnp.asarray(fine.intrinsics),
  )
  return tuple(map(np.asarray, found))


@jax.jit
def _both(
  tracks: Float[Array, "T h w 3"],
  depth: Float[Array, "H W"],
  colours: Float[Array, "H W 3"],
  intrinsics: Float[Array, "4"],
) -> tuple[Float[Array, "T H W 3"], Float[Array, "T H W 3"]]:
  first = cameras.unproject(depth[None], intrinsics[None])[0]
  stencil = upsampling.motion_stencil(tracks[0, ..., 2], depth, colours)
  ours = upsampling.upsample_tracks(tracks, first, stencil)
  motion = (tracks - tracks[0]) / tracks[0, ..., 2:]
  shape = (len(tracks), *depth.shape, 3)
  bilinear = jax.image.resize(motion, shape, "linear", antialias=False)
  return ours, first + bilinear * depth[..., None]


def _film(
  tracks: Float32[np.ndarray, "T H W 3"],
  view: View,
  poses: Float32[np.ndarray, "T 4 4"],
) -> tuple[UInt8[np.ndarray, "T H W 3"], Bool[np.ndarray, "T H W"]]:
  return render_video.render_video(tracks, view.colours, poses, view.intrinsics)


def _enlarge(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Frames at another size (H, W): colours blended, masks not."""
  method = PIL.Image.Resampling.BILINEAR
  if frames.dtype == bool:
    method = PIL.Image.Resampling.NEAREST
  return np.stack(
    [
      np.asarray(PIL.Image.fromarray(f).resize(size[::-1], method))
      for f in frames
    ]
  )


def table(found: list[Figures], title: str) -> str:
  """Means over scenes; gains of the medians as well."""
  lines = [
    title,
    "",
    "| figure | coarse, bilinear | upsampled | change of the mean | median "
    "change of a scene |",
    "|---|---|---|---|---|",
  ]
  names = {
    "boundary": "error beside boundaries, mm",
    "elsewhere": "error elsewhere, mm",
  }
  for field, name in names.items():
    pairs = np.asarray([getattr(f, field) for f in found]) * 1000
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    old, new = pairs.mean(axis=0)
    median = np.median(pairs[:, 1] / pairs[:, 0])
    lines.append(
      f"| {name} | {old:.4f} | {new:.4f} | {100 * (new / old - 1):+.1f} % | "
      f"{100 * (median - 1):+.1f} % |"
    )
  pairs = np.asarray([f.psnr for f in found])
  old, new = pairs.mean(axis=0)
  median = np.median(pairs[:, 1] - pairs[:, 0])
  lines.append(
    f"| film of another camera, dB | {old:.2f} | {new:.2f} | "
    f"{new - old:+.2f} dB | {median:+.2f} dB |"
  )
  return "\n".join(lines) + "\n"


def main() -> None:
  """Makes scenes, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--scenes", type=int, default=64)
  parser.add_argument("--first", type=int, default=0, help="number of a scene")
  parser.add_argument("--height", type=int, default=48)
  parser.add_argument("--width", type=int, default=64)
  parser.add_argument("--factor", type=int, default=4)
  parser.add_argument("--out", type=pathlib.Path)
  flags = parser.parse_args()
  size = (flags.height, flags.width)
  found = [
    measure(make_case(seed, size, flags.factor))
    for seed in range(flags.first, flags.first + flags.scenes)
  ]
  fine = tuple(flags.factor * side for side in size)
  title = (
    f"{flags.scenes} scenes of version 2 from number {flags.first} on, 9 "
    f"frames, from {size[0]}x{size[1]} to {fine[0]}x{fine[1]}."
  )
  text = table(found, title)
  print(text)
  if flags.out:
    flags.out.write_text(text)


if __name__ == "__main__":
  main()
