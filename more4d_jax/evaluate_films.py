"""Completed films against true ones: of true scenes, and of what a user gets.

A user's scene is made of picture and caption; it is filmed along the cameras of
true films, and its holes are filled by the view completion network.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from more4d_jax import batches, evaluate_bundle, evaluate_chain, pipeline
from more4d_jax.evaluation import (
  intervals,
  lpips,
  seen_points,
  video_metrics,
)
from more4d_jax.rendering import render_video


@dataclasses.dataclass(frozen=True)
class Film:
  """A rendering with holes and the true film of the same camera."""

  rendering: UInt8[np.ndarray, "T H W 3"]
  coverage: Bool[np.ndarray, "T H W"]
  true: UInt8[np.ndarray, "T H W 3"]
  image: UInt8[np.ndarray, "H W 3"]
  caption: str


def evaluate_vism(
  pipe: pipeline.Pipeline,
  films: Sequence[Film],
  options: evaluate_bundle.Options,
  perceptual: lpips.Lpips | None = None,
) -> dict[str, float]:
  """Completed renderings of true scenes against true films.

  Args:
    pipe: the networks.
    films: renderings of true tracks.
    options: how samples are drawn.
    perceptual: weights of LPIPS.

  Returns: `hole_psnr` and `nearest_hole_psnr` (the holes filled with the
    nearest drawn colour), over all hole pixels together; `psnr` and
    `nearest_psnr` over whole frames; `ssim`; `lpips`, NaN without its weights;
    `hole_share`.
  """
  found = np.stack(complete(pipe, films, options))
  holes = np.stack([~film.coverage for film in films])
  true = np.stack([film.true for film in films])
  nearest = np.stack(
    [video_metrics.fill_nearest(f.rendering, f.coverage) for f in films]
  )
  similarity = [video_metrics.ssim(a, b) for a, b in zip(found, true)]
  distances = [_distance(perceptual, a, b) for a, b in zip(found, true)]
  return {
    "films": float(len(films)),
    "hole_share": float(holes.mean()),
    "hole_psnr": video_metrics.psnr(found, true, holes),
    "nearest_hole_psnr": video_metrics.psnr(nearest, true, holes),
    "psnr": video_metrics.psnr(found, true),
    "nearest_psnr": video_metrics.psnr(nearest, true),
    "ssim": float(np.mean(similarity)),
    "lpips": float(np.mean(distances)),
  }


def complete(
  pipe: pipeline.Pipeline,
  films: Sequence[Film],
  options: evaluate_bundle.Options,
  first: int = 0,
) -> list[UInt8[np.ndarray, "T H W 3"]]:
  """Fills the holes of renderings; noise depends on seed and number alone.

  Args:
    pipe: the networks.
    films: renderings.
    options: how samples are drawn.
    first: number of the first film.
  """
  plan = list(batches.chunks(len(films), options.batch))
  given = [
    batches.RenderingBatch(
      videos=np.stack([films[i].rendering for i in chosen]),
      coverage=np.stack([films[i].coverage for i in chosen]),
      images=np.stack([films[i].image for i in chosen]),
      prompts=[films[i].caption for i in chosen],
      noise_keys=[(options.seed, first + i) for i in chosen],
    )
    for chosen, _ in plan
  ]
  completed = []
  for (_, kept), done in zip(plan, pipe.generator.videos(given)):
    completed.extend(done.videos[:kept])
  return completed


@dataclasses.dataclass(frozen=True)
class Shot:
  """A scene as true cameras filmed it.

  Attributes:
    example: of `transforms.scene_example`.
    poses: world_from_camera of each camera, [T 4 4].
    films: what each saw.
  """

  example: evaluate_bundle.Example
  poses: Sequence[Float[np.ndarray, "T 4 4"]]
  films: Sequence[UInt8[np.ndarray, "T H W 3"]]


def evaluate_films(
  pipe: pipeline.Pipeline,
  shots: Iterable[Shot],
  options: evaluate_bundle.Options,
  perceptual: lpips.Lpips | None = None,
) -> intervals.Measured:
  """Films of scenes made of picture and caption, against the true films.

  Cameras are in metres, scenes of estimated depth are not: each is multiplied
  by the one factor of `track_metrics.global_scale`. Some scenes are in memory
  at once, as many as go through a network together.

  Args:
    pipe: the networks, depth included.
    shots: made as they are asked for; all have as many cameras.
    options: how samples are drawn.
    perceptual: weights of LPIPS.

  Returns: means over scenes of `psnr`, `ssim` and `lpips` (NaN without its
    weights) over whole frames; `seen_...` and `hole_...` over what the
    rendering shows and what the network fills in; `nearest_psnr` and
    `nearest_hole_psnr` with the nearest drawn colour there; `hole_share`.
    Where there are two cameras, `path_difference` of the colours that the
    scene's own points have in their films, see `seen_points.path_difference`,
    and `rendered_path_difference` before holes are filled.
  """
  rows, number, waiting = [], 0, []
  for shot in shots:
    waiting.append(shot)
    if len(waiting) == options.batch:
      rows += _rows(pipe, waiting, number, options, perceptual)
      number, waiting = number + len(waiting), []
  if waiting:
    rows += _rows(pipe, waiting, number, options, perceptual)
  return intervals.measured(rows)


def _rows(
  pipe: pipeline.Pipeline,
  shots: Sequence[Shot],
  number: int,
  options: evaluate_bundle.Options,
  perceptual: lpips.Lpips | None,
) -> list[dict[str, float]]:
  """Figures of scenes, the first of which has a number."""
  examples = [shot.example for shot in shots]
  depths = evaluate_bundle.estimated_depth(
    pipe, np.stack([e["image"] for e in examples]), options.batch
  )
  captions = [e["caption"] for e in examples]
  drawn = evaluate_bundle.sample(
    pipe, examples, captions, options, list(depths), first=number
  )
  fill = pipe.networks.choices("vism").holes == "filled"
  scaled = [
    made * evaluate_chain.scale_of(example, made)
    for made, example in zip(drawn, examples)
  ]
  films = [
    _film(tracks, shot, camera, fill)
    for tracks, shot in zip(scaled, shots)
    for camera in range(len(shot.films))
  ]
  cameras = len(shots[0].films)
  completed = complete(pipe, films, options, number * cameras)
  found = []
  for i, shot in enumerate(shots):
    part = slice(i * cameras, (i + 1) * cameras)
    each = [
      _figures(film, done, perceptual)
      for film, done in zip(films[part], completed[part])
    ]
    row = {
      name: float(np.mean([f[name] for f in each if name in f]))
      for name in dict.fromkeys(name for f in each for name in f)
    }
    found.append(
      row | _two_paths(scaled[i], shot, films[part], completed[part])
    )
  return found


def _two_paths(
  tracks: Float[np.ndarray, "T H W 3"],
  shot: Shot,
  films: Sequence[Film],
  completed: Sequence[UInt8[np.ndarray, "T H W 3"]],
) -> dict[str, float]:
  """How the first two films of a scene agree; empty if they share no point."""
  if len(films) < 2:
    return {}
  found = {
    name: seen_points.path_difference(
      tracks, shot.example["intrinsics"], shot.poses[:2], shown[:2]
    )
    for name, shown in (
      ("path_difference", completed),
      ("rendered_path_difference", [film.rendering for film in films]),
    )
  }
  return {name: value for name, value in found.items() if np.isfinite(value)}


def _film(
  tracks: Float[np.ndarray, "T H W 3"], shot: Shot, camera: int, fill: bool
) -> Film:
  """What a camera sees of a scene, with the true film beside it."""
  example = shot.example
  rendering, coverage = render_video.render_video(
    tracks,
    example["image"],
    shot.poses[camera],
    example["intrinsics"],
    render_video.RenderOptions(fill=fill),
  )
  return Film(
    rendering,
    coverage,
    shot.films[camera],
    example["image"],
    example["caption"],
  )


def _figures(
  film: Film,
  done: UInt8[np.ndarray, "T H W 3"],
  perceptual: lpips.Lpips | None,
) -> dict[str, float]:
  """Of one film; those of holes only where there are any."""
  nearest = video_metrics.fill_nearest(film.rendering, film.coverage)
  seen, true = film.coverage, film.true
  found = {
    "psnr": video_metrics.psnr(done, true),
    "nearest_psnr": video_metrics.psnr(nearest, true),
    "seen_psnr": video_metrics.psnr(done, true, seen),
    "hole_psnr": video_metrics.psnr(done, true, ~seen),
    "nearest_hole_psnr": video_metrics.psnr(nearest, true, ~seen),
    "ssim": video_metrics.ssim(done, true),
    "seen_ssim": video_metrics.ssim(done, true, mask=seen),
    "hole_ssim": video_metrics.ssim(done, true, mask=~seen),
    "hole_share": float((~seen).mean()),
  }
  known = {name: value for name, value in found.items() if not np.isnan(value)}
  return known | {"lpips": _distance(perceptual, done, true)}


def _distance(
  perceptual: lpips.Lpips | None,
  found: UInt8[np.ndarray, "T H W 3"],
  true: UInt8[np.ndarray, "T H W 3"],
) -> float:
  return perceptual.distance(found, true) if perceptual else float("nan")
