"""Figures of a checkpoint on records with ground truth.

Joins records, the pipeline and the metrics; every function takes examples of
`data.transforms` and returns plain numbers.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from more4d_jax import batches, pipeline
from more4d_jax.evaluation import depth_metrics, linear_code, track_metrics
from more4d_jax.geometry import motion
from more4d_jax.sampling import networks

Example = Mapping[str, Any]
# (number of the example, the example, its predicted tracks)
Look = Callable[[int, Example, Float[np.ndarray, "T H W 3"]], None]

_MOVING = 0.01  # In normalised motion: of a point's depth.


@dataclasses.dataclass(frozen=True)
class Options:
  """How samples are drawn.

  Attributes:
    seed: of the noise.
    batch: samples drawn at once.
  """

  seed: int = 0
  batch: int = 16


def evaluate_tracks(
  pipe: pipeline.Pipeline,
  examples: Sequence[Example],
  options: Options,
  *,
  oracles: Sequence[Float[np.ndarray, "T H W 3"]] | None = None,
  look: Look | None = None,
) -> dict[str, float]:
  """Sampled against true trajectories, one sample per scene.

  Errors count the moving objects' visible first-frame pixels. The networks are
  given the true depth. A scene whose caption names a side is sampled again,
  from the same noise, with "left" and "right" exchanged.

  Args:
    pipe: the networks.
    examples: of `transforms.scene_example`.
    options: how samples are drawn.
    oracles: for each example, the true tracks of the same picture and caption
      under another motion seed.
    look: called with every prediction.

  Returns: see `track_metrics.summarise_tracks`.
  """
  captions = [e["caption"] for e in examples]
  told = any(track_metrics.caption_sign(c) for c in captions)
  found = sample(pipe, examples, captions, options)
  swapped = found
  if told:
    other = [track_metrics.swap_sides(c) for c in captions]
    swapped = sample(pipe, examples, other, options)
  results = []
  for number, example in enumerate(examples):
    true, mask = example["tracks"], object_mask(example)
    oracle = None if oracles is None else oracles[number]
    moved = mask.any()
    results.append(
      track_metrics.SceneTrackResult(
        error=track_metrics.end_point_error(found[number], true, mask),
        still=track_metrics.still_error(true, mask),
        sign=track_metrics.caption_sign(captions[number]),
        horizontal=_horizontal(found[number], mask) if moved else 0.0,
        swapped_horizontal=_horizontal(swapped[number], mask) if moved else 0.0,
        oracle=float("nan")
        if oracle is None
        else track_metrics.end_point_error(oracle, true, mask),
      )
    )
    if look is not None:
      look(number, example, found[number])
  figures = track_metrics.summarise_tracks(results)
  jerk = [track_metrics.mean_jerk(tracks) for tracks in found]
  true_jerk = [track_metrics.mean_jerk(_followed(e)) for e in examples]
  return {
    **figures,
    "mean_jerk": float(np.mean(jerk)),
    "true_mean_jerk": float(np.mean(true_jerk)),
  }


_horizontal = track_metrics.mean_horizontal_motion


def object_mask(example: Example) -> Bool[np.ndarray, "H W"]:
  """Visible first-frame pixels of moving objects whose path is known."""
  known = np.isfinite(example["tracks"]).all(axis=(0, -1))
  return (example["segmentation"] > 0) & example["visible"][0] & known


def sample(
  pipe: pipeline.Pipeline,
  examples: Sequence[Example],
  captions: Sequence[str],
  options: Options,
  depths: Sequence[Float[np.ndarray, "H W"]] | None = None,
  *,
  first: int = 0,
) -> Float[np.ndarray, "N T H W 3"]:
  """Samples every example once; noise depends on seed and number alone.

  Args:
    pipe: the networks.
    examples: of `transforms.scene_example`.
    captions: of the examples.
    options: how samples are drawn.
    depths: of the first frames; the true ones when left out.
    first: number of the first example.
  """
  depths = [first_depth(e) for e in examples] if depths is None else depths
  plan = list(batches.chunks(len(examples), options.batch))
  given = [
    batches.PictureBatch(
      images=np.stack([examples[i]["image"] for i in chosen]),
      depths=np.stack([depths[i] for i in chosen]),
      intrinsics=np.stack([examples[i]["intrinsics"] for i in chosen]),
      prompts=[captions[i] for i in chosen],
      noise_keys=[(options.seed, first + i) for i in chosen],
    )
    for chosen, _ in plan
  ]
  drawn = pipe.generator.tracks(given)
  return np.concatenate(
    [found.tracks[:kept] for (_, kept), found in zip(plan, drawn)]
  )


def first_depth(example: Example) -> Float[np.ndarray, "H W"]:
  """True first-frame depth, invalid values replaced by the median."""
  depth = example["tracks"][0, ..., 2]
  valid = depth_metrics.valid_depth(depth)
  return np.where(valid, depth, np.median(depth[valid])).astype(np.float32)


def _followed(example: Example) -> Float[np.ndarray, "T 1 N 3"]:
  """True tracks of the points that have one; those of the sky have none."""
  tracks = example["tracks"]
  return tracks[:, None, np.isfinite(tracks).all(axis=(0, -1))]


def evaluate_motion_vae(
  pipe: pipeline.Pipeline,
  examples: Sequence[Example],
  training: Iterable[Example],
) -> dict[str, float]:
  """Reconstruction of true motion beside a linear code of the same size.

  Args:
    pipe: the networks.
    examples: with `tracks` and `intrinsics`, not trained on.
    training: the like, from training scenes; the linear code is fitted to
      them.

  Returns: `relative`, root mean square error over valid moving pixels over
    their root mean square motion; `linear_relative`, that of principal
    components of whole clips; `over_linear`, their quotient;
    `block_linear_relative` and `over_block_linear`, the same for principal
    components of blocks of 8 x 8 pixels.
  """
  frames, height, width = pipe.size
  per_cell = 16 * ((frames - 1) // 4 + 1)
  normalised = functools.partial(_normalised, pipe.networks.normalisation)
  clips = [normalised(example)[0] for example in training]
  blocks = linear_code.fit(clips, per_cell)
  whole = linear_code.ClipCode.fit(clips, per_cell * height * width // 64)
  ours, linear, block = (linear_code.MotionError() for _ in range(3))
  with pipe.networks.lend("motion_vae") as model:
    for example in examples:
      moved, valid = normalised(example)
      length = np.linalg.norm(moved, axis=-1).max(axis=0)
      mask = valid & (length > _MOVING)
      decoded = np.asarray(_reconstruct(model, jnp.asarray(moved[None])))[0]
      ours.add(decoded, moved, mask)
      linear.add(whole.reconstruct(moved), moved, mask)
      block.add(linear_code.reconstruct(blocks, moved), moved, mask)
  return {
    "scenes": float(len(examples)),
    "linear_code_scenes": float(len(clips)),
    "relative": ours.relative,
    "linear_relative": linear.relative,
    "over_linear": ours.relative / linear.relative,
    "block_linear_relative": block.relative,
    "over_block_linear": ours.relative / block.relative,
  }


@jax.jit
def _reconstruct(
  model: networks.BoundModule, moved: Float[Array, "B T H W 3"]
) -> Float[Array, "B T H W 3"]:
  return model(model(moved, method="encode")[0], method="decode")


def _normalised(
  normalisation: motion.MotionNormalisation, example: Example
) -> tuple[Float[np.ndarray, "T H W 3"], Bool[np.ndarray, "H W"]]:
  tracks = jnp.asarray(example["tracks"])[None]
  intrinsics = jnp.asarray(example["intrinsics"])[None]
  alpha = normalisation.alpha(intrinsics, *tracks.shape[2:4])
  moved, valid, _ = motion.normalise(tracks, alpha, normalisation.mode)
  return np.asarray(moved[0]), np.asarray(valid[0])


def evaluate_depth(
  pipe: pipeline.Pipeline, examples: Sequence[Example], batch: int = 16
) -> dict[str, float]:
  """Depth of pictures; see `depth_metrics.depth_figures`."""
  images = np.stack([e["image"] for e in examples])
  true = np.stack([e["depth"] for e in examples])
  predicted = estimated_depth(pipe, images, batch)
  return depth_metrics.depth_figures(predicted, true)


def estimated_depth(
  pipe: pipeline.Pipeline, images: UInt8[np.ndarray, "N H W 3"], batch: int = 16
) -> Float[np.ndarray, "N H W"]:
  """Depth of pictures in metres, by the depth network."""
  found = [
    pipe.generator.depth(images[chosen])[:kept]
    for chosen, kept in batches.chunks(len(images), batch)
  ]
  return np.concatenate(found)
