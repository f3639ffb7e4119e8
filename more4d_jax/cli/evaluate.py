"""`more4d evaluate`: what a checkpoint reaches against ground truth."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Literal

from more4d_jax import errors, evaluate_bundle, pipeline
from more4d_jax.bundled import shipped
from more4d_jax.checkpoints import dtypes
from more4d_jax.cli import (
  default_checkpoint,
  evaluation_flags,
  evaluation_report,
  evaluation_scenes,
  lists,
  outputs,
  request_digests,
  run_flags,
  sampling_flags,
)
from more4d_jax.evaluation import intervals

_CHAIN = evaluation_scenes.CHAIN
# Name of a split -> what is measured: of scenes in plain rooms, and of those
# like photographs.
_SPLITS = {
  name: (name,) for name in ("motion64", "unseen", "motion64v3", _CHAIN)
}
_SPLITS |= {
  "all": ("motion64", "unseen"),
  "photographic": ("motion64v3", _CHAIN),
}
_CODE_SCENES, _CODE_BYTES = 3000, 1 << 30  # Of clips that fit linear codes.


def evaluate(
  *,
  checkpoint: pathlib.Path | None = None,
  split: str = "all",
  out: pathlib.Path | None = None,
  videos: pathlib.Path | None = None,
  scenes: int = 64,
  kind_scenes: int = 16,
  training_scenes: int | None = None,
  batch: int = 16,
  seed: int = 0,
  lora: lists.Words = (),
  conditions: Literal["trained", "original"] = "trained",
  dtype: dtypes.Held | None = None,
  chain: evaluation_flags.ChainFlags = evaluation_flags.DEFAULT,
  execution: run_flags.RunFlags = run_flags.DEFAULT,
  sampling: sampling_flags.SamplingFlags = sampling_flags.DEFAULT,
) -> None:
  """Prints the figures of a checkpoint on procedural scenes.

  Args:
    checkpoint: directory made by `more4d bundle`; the one that ships with the
      package when left out.
    split: "motion64" (trajectories against captions), "unseen" (motion VAE,
      depth, view completion, trajectories of every kind of scene), "all" for
      both; or, in scenes like photographs, "motion64v3" (as "motion64"),
      "public200" (what a user gets: picture and caption alone),
      "photographic" for both.
    out: JSON file for the figures; a table of the same name that ends in .md
      is written beside it.
    videos: directory for videos of predicted and true trajectories.
    scenes: greatest number of scenes of a split.
    kind_scenes: scenes of each other kind.
    training_scenes: training scenes that the linear motion codes are fitted
      to; when left out 3000, or as many as 1 GiB holds.
    batch: samples drawn at once.
    seed: of the noise.
    lora: LoRA files, as `more4d generate` takes them.
    conditions: what the networks are shown: what they were trained on, or
      what the original's scripts show them (its camera, colours, depth).
    dtype: what transformers and encoders are held and compute in; int8 is for
      the kernels of their layers, beside bfloat16; as the checkpoint has it
      when left out.
    chain: what is measured besides the tracks of public200.
    execution: how networks are run.
    sampling: how latents are drawn.
  """
  counts = [scenes, kind_scenes, batch]
  counts += [] if training_scenes is None else [training_scenes]
  _check(split, counts, chain)
  _check_outputs(out, videos)
  files = evaluation_flags.lpips_files(chain)
  perceptual = evaluation_flags.read_lpips(files)
  loras = sampling_flags.read_loras(lora)
  changes = sampling_flags.overrides(sampling)
  running = run_flags.options(execution)
  default_checkpoint.say(checkpoint)
  pipe = pipeline.load(checkpoint, changes, loras, conditions, dtype, running)
  options = evaluate_bundle.Options(seed, batch)
  if training_scenes is None:
    training_scenes = _fitting_scenes(pipe.size)
  scenes_of = evaluation_scenes.Scenes(pipe, options, videos, perceptual)
  measured = _measure(
    scenes_of, split, (scenes, kind_scenes, training_scenes), chain
  )
  figures = {name: found.figures for name, found in measured.items()}
  used = shipped.find(checkpoint)
  report = {
    "checkpoint": str(used),
    "split": split,
    "seed": seed,
    "scenes": scenes_of.seeds,
    "sampler": dataclasses.asdict(pipe.networks.sampler("strag")),
    "loras": pipe.networks.loras,
    "versions": evaluation_report.versions(),
    "hashes": {str(p): request_digests.content(p) for p in (used, *files)},
    "figures": figures,
    "intervals": {n: found.intervals for n, found in measured.items()},
    "bounds": evaluation_report.check_bounds(figures),
  }
  for line in report["bounds"]:
    print(line)
  if out is not None:
    evaluation_report.write(out, report)


def _check(
  split: str, counts: Sequence[int], chain: evaluation_flags.ChainFlags
) -> None:
  """Raises UserError unless the flags make sense together."""
  if split not in _SPLITS:
    raise errors.UserError(
      f"expected a split of {', '.join(_SPLITS)}, found {split!r}: choose one "
      "of them"
    )
  if min(counts) < 1:
    raise errors.UserError(
      f"expected counts of at least 1, found {min(counts)}: check --scenes, "
      "--kind-scenes, --training-scenes and --batch"
    )
  evaluation_flags.check(chain)
  if _CHAIN not in _SPLITS[split] and not evaluation_flags.is_default(chain):
    raise errors.UserError(
      f"expected --split {_CHAIN} beside --samples, --depth-noise or "
      f"--cameras, found {split}: name that split, or leave them out"
    )


def _measure(
  scenes_of: evaluation_scenes.Scenes,
  split: str,
  counts: tuple[int, int, int],
  chain: evaluation_flags.ChainFlags,
) -> dict[str, intervals.Measured]:
  """Measures and prints what a split holds, by group.

  Args:
    scenes_of: the splits.
    split: one of `_SPLITS`.
    counts: of scenes, of those of each kind, of training scenes.
    chain: what is measured of the whole chain.
  """
  scenes, kind_scenes, training_scenes = counts
  groups: dict[str, intervals.Measured] = {}

  def add(name: str, found: intervals.Measured) -> None:
    groups[name] = found
    evaluation_report.show(name, found.figures, found.intervals)

  for part in _SPLITS[split]:
    if part == _CHAIN:
      for name, found in scenes_of.chain(scenes, chain):
        add(name, found)
    elif part == "unseen":
      counts = scenes, kind_scenes, training_scenes
      for name, figures in scenes_of.unseen(*counts):
        add(name, intervals.Measured(figures, {}))
    else:
      add(part, intervals.Measured(scenes_of.tracks(part, scenes), {}))
  return groups


def _check_outputs(
  out: pathlib.Path | None, videos: pathlib.Path | None
) -> None:
  """Raises UserError unless figures and videos can be written."""
  if out is not None:
    if not out.absolute().parent.is_dir():
      raise errors.UserError(
        f"expected a directory for {out}, found none: make it first"
      )
    outputs.check_file(out)
    outputs.check_file(evaluation_report.table_of(out))
  if videos is not None:
    outputs.check_folder(videos)


def _fitting_scenes(size: tuple[int, int, int]) -> int:
  """Training scenes for the linear codes: more than a tiny clip's latents."""
  clip_bytes = 3 * 4 * math.prod(size)
  return max(1, min(_CODE_SCENES, _CODE_BYTES // clip_bytes))
