"""`more4d evaluate`: what a checkpoint reaches against ground truth."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from more4d_jax import errors, evaluate_bundle, evaluate_chain, pipeline
from more4d_jax.bundled import shipped
from more4d_jax.checkpoints import dtypes
from more4d_jax.cli import (
  default_checkpoint,
  lists,
  outputs,
  run_flags,
  sampling_flags,
)
from more4d_jax.data import transforms

Figures = Mapping[str, float]
Intervals = Mapping[str, tuple[float, float]]

_CHAIN = "public200"  # The split on which the whole chain is measured.
_SPLITS = ("all", "motion64", "unseen", _CHAIN)
_OTHER_MOTION = 1_000_000_000  # Added to a seed for its oracle.
_CODE_SCENES, _CODE_BYTES = 3000, 1 << 30  # Of clips that fit linear codes.


@dataclasses.dataclass(frozen=True)
class Threshold:
  """What a figure should reach.

  Attributes:
    figure: "<group>/<name>".
    below: whether the figure should be below the limit, not above it.
    limit: a number, or another figure of the group.
    doc: in words.
  """

  figure: str
  below: bool
  limit: float | str
  doc: str


BOUNDS = (
  Threshold("motion64/relative", True, 0.7, "30 % better than nothing moves"),
  Threshold("motion64/follows_caption", False, 0.7, "in 70 % of the scenes"),
  Threshold("motion_vae/relative", True, 0.2, "20 % of the motion"),
  Threshold(
    "motion_vae/over_linear", True, 2 / 3, "a third below a linear code"
  ),
  Threshold("depth/relative", True, 0.7, "30 % better than a constant per row"),
  Threshold(
    "vism/hole_psnr", False, "nearest_hole_psnr", "better than nearest colours"
  ),
)


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
  execution: run_flags.RunFlags = run_flags.DEFAULT,
  sampling: sampling_flags.SamplingFlags = sampling_flags.DEFAULT,
) -> None:
  """Prints the figures of a checkpoint on procedural scenes.

  Args:
    checkpoint: directory made by `more4d bundle`; the one that ships with the
      package when left out.
    split: "motion64" (trajectories against captions), "unseen" (motion VAE,
      depth, view completion, trajectories of every kind of scene), "all" for
      both; or "public200" (what a user gets: picture and caption alone, in
      scenes like photographs).
    out: JSON file for the figures.
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
    execution: how networks are run.
    sampling: how latents are drawn.
  """
  if split not in _SPLITS:
    raise errors.UserError(
      f"expected a split of {', '.join(_SPLITS)}, found {split!r}: choose one "
      "of them"
    )
  given = (scenes, kind_scenes, training_scenes, batch)
  counts = [count for count in given if count is not None]
  if min(counts) < 1:
    raise errors.UserError(
      f"expected counts of at least 1, found {min(counts)}: check --scenes, "
      "--kind-scenes, --training-scenes and --batch"
    )
  _check_outputs(out, videos)
  loras = sampling_flags.read_loras(lora)
  changes = sampling_flags.overrides(sampling)
  running = run_flags.options(execution)
  default_checkpoint.say(checkpoint)
  pipe = pipeline.load(checkpoint, changes, loras, conditions, dtype, running)
  options = evaluate_bundle.Options(seed, batch)
  if training_scenes is None:
    training_scenes = _fitting_scenes(pipe.size)
  groups, intervals = _measure(
    _Run(pipe, options, videos), split, (scenes, kind_scenes, training_scenes)
  )
  report = {
    "checkpoint": str(shipped.find(checkpoint)),
    "split": split,
    "seed": seed,
    "sampler": dataclasses.asdict(pipe.networks.sampler("strag")),
    "loras": pipe.networks.loras,
    "figures": groups,
    "intervals": intervals,
    "bounds": check_bounds(groups),
  }
  for line in report["bounds"]:
    print(line)
  if out is not None:
    outputs.write_json(out, _plain(report))


def _measure(
  run: "_Run", split: str, counts: tuple[int, int, int]
) -> tuple[dict[str, Figures], dict[str, Intervals]]:
  """Measures and prints what a split holds.

  Args:
    run: of a pipeline.
    split: one of `_SPLITS`.
    counts: of scenes, of those of each kind, of training scenes.

  Returns: group -> figures, and group -> intervals where there are any.
  """
  scenes, kind_scenes, training_scenes = counts
  groups: dict[str, Figures] = {}
  intervals: dict[str, Intervals] = {}
  if split in ("all", "motion64"):
    groups["motion64"] = _show("motion64", run.tracks("motion64", scenes))
  if split in ("all", "unseen"):
    for name, figures in run.unseen(scenes, kind_scenes, training_scenes):
      groups[name] = _show(name, figures)
  if split == _CHAIN:
    chain = run.chain(scenes)
    groups["chain"] = _show("chain", chain.figures, chain.intervals)
    intervals["chain"] = chain.intervals
  return groups, intervals


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
  if videos is not None:
    outputs.check_folder(videos)


def _fitting_scenes(size: tuple[int, int, int]) -> int:
  """Training scenes for the linear codes: more than a tiny clip's latents."""
  clip_bytes = 3 * 4 * math.prod(size)
  return max(1, min(_CODE_SCENES, _CODE_BYTES // clip_bytes))


class _Run:
  """A pipeline on procedural records, which are made as they are needed."""

  def __init__(
    self,
    pipe: pipeline.Pipeline,
    options: evaluate_bundle.Options,
    videos: pathlib.Path | None,
  ):
    self._pipe, self._options, self._videos = pipe, options, videos

  def tracks(self, split: str, count: int) -> Figures:
    """Trajectories of a split, with the oracle beside them."""
    records = list(self._records(split, count, light=True))
    examples = [self._example(transforms.scene_example, r) for r in records]
    oracles = [
      record.tracks for record in self._records(split, count, oracle=True)
    ]
    return evaluate_bundle.evaluate_tracks(
      self._pipe,
      examples,
      self._options,
      oracles=oracles,
      look=self._look(split),
    )

  def chain(self, count: int) -> evaluate_chain.Chain:
    """What a user gets of picture and caption."""
    examples = [
      self._example(transforms.scene_example, record)
      | {"world_from_camera": record.world_from_camera}
      for record in self._records(_CHAIN, count, light=True)
    ]
    return evaluate_chain.evaluate_chain(self._pipe, examples, self._options)

  def unseen(
    self, count: int, kind_count: int, training: int
  ) -> Iterator[tuple[str, Figures]]:
    """Figures of every network on scenes that nothing was trained on."""
    from data_pipelines.procedural import scenes

    pipe = self._pipe
    examples, films = [], []
    for record in self._records("unseen", count, light=False):
      examples.append(self._example(transforms.scene_example, record))
      films.append(self._film(record))
    clips = (
      self._example(transforms.motion_example, record)
      for record in self._records("train", training, light=True)
    )
    yield (
      "motion_vae",
      evaluate_bundle.evaluate_motion_vae(pipe, examples, clips),
    )
    yield "depth", evaluate_bundle.evaluate_depth(pipe, examples)
    yield "vism", evaluate_bundle.evaluate_vism(pipe, films, self._options)
    for kind in scenes.KINDS:
      if kind != "motion":
        yield f"tracks/{kind}", self.tracks(f"unseen_{kind}", kind_count)

  def _records(
    self,
    split: str,
    count: int,
    *,
    light: bool = True,
    oracle: bool = False,
  ) -> Iterator[Any]:
    """Makes the first records of a split, or their oracles.

    An oracle has the record's picture and caption, and what neither of them
    tells drawn anew.
    """
    import tqdm

    from data_pipelines.procedural import records, splits

    frames, height, width = self._pipe.size
    chosen = splits.SPLITS[split]
    make = records.RecordOptions(
      frames,
      height,
      width,
      light=light,
      kind=chosen.kind,
      version=chosen.version,
    )
    seeds = chosen.part(0, min(count, chosen.size))
    what = f"{split} {'oracle ' if oracle else ''}scenes"
    for seed in tqdm.tqdm(seeds, desc=what, leave=False):
      other = seed + _OTHER_MOTION if oracle else None
      yield records.make_record(seed, make, other)

  def _example(self, function: Callable[..., Any], record: Any) -> Any:
    frames, height, width = self._pipe.size
    options = transforms.ExampleOptions(
      frames=frames, height=height, width=width
    )
    return function(record, options)

  def _film(self, record: Any) -> evaluate_bundle.Film:
    """The record's first other camera: rendering with holes, true film."""
    from more4d_jax.rendering import render_video

    example = self._example(transforms.view_example, record)
    choices = self._pipe.networks.choices("vism")
    rendering, coverage = render_video.render_video(
      example["tracks"],
      example["image"],
      example["target_world_from_camera"],
      example["intrinsics"],
      render_video.RenderOptions(fill=choices.holes == "filled"),
    )
    return evaluate_bundle.Film(
      rendering,
      coverage,
      example["target_video"],
      example["image"],
      example["caption"],
    )

  def _look(self, split: str) -> evaluate_bundle.Look | None:
    """Saves the first eight predictions as videos."""
    if self._videos is None:
      return None
    from more4d_jax.viewing import panels, video

    self._videos.mkdir(parents=True, exist_ok=True)

    def look(number: int, example: Any, tracks: np.ndarray) -> None:
      if number < 8:
        video.write_video(
          self._videos / f"{split}_{number}.mp4",
          panels.predicted_and_true(
            example["image"], tracks, example["tracks"], example["intrinsics"]
          ),
          fps=8,
        )

    return look


def check_bounds(groups: dict[str, Figures]) -> list[str]:
  """One line for each bound whose figure was measured."""
  lines = []
  for bound in BOUNDS:
    group, name = bound.figure.split("/")
    if name not in groups.get(group, {}):
      continue
    value = groups[group][name]
    limit = bound.limit
    number = groups[group][limit] if isinstance(limit, str) else limit
    met = value <= number if bound.below else value >= number
    sign = "at most" if bound.below else "at least"
    lines.append(
      f"{'reached' if met else 'MISSED '} {bound.figure} {value:.4g}, {sign} "
      f"{number:.4g} ({bound.doc})"
    )
  return lines


def _show(
  name: str, figures: Figures, intervals: Intervals | None = None
) -> Figures:
  """Prints figures, with what 95 % of repetitions would give beside them."""
  print(f"{name}:", flush=True)
  for key, value in figures.items():
    line = f"  {key:<26}{value:.4g}"
    if intervals and key in intervals:
      low, high = intervals[key]
      line += f"  [{low:.4g}, {high:.4g}]"
    print(line, flush=True)
  return figures


def _plain(value: Any) -> Any:
  """The same values, with null for numbers that JSON cannot hold."""
  if isinstance(value, Mapping):
    return {name: _plain(item) for name, item in value.items()}
  if isinstance(value, tuple):
    return [_plain(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
