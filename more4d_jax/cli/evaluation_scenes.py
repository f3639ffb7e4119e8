"""Procedural scenes that `more4d evaluate` measures a pipeline on."""

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from more4d_jax import (
  evaluate_bundle,
  evaluate_chain,
  evaluate_films,
  evaluate_spread,
  pipeline,
)
from more4d_jax.cli import evaluation_flags
from more4d_jax.data import transforms
from more4d_jax.evaluation import intervals, lpips

CHAIN = "public200"  # The split on which the whole chain is measured.
_OTHER_MOTION = 1_000_000_000  # Added to a seed for its oracle.


class Scenes:
  """A pipeline on procedural records, which are made as they are needed."""

  def __init__(
    self,
    pipe: pipeline.Pipeline,
    options: evaluate_bundle.Options,
    videos: pathlib.Path | None,
    perceptual: lpips.Lpips | None,
  ):
    self._pipe, self._options, self._videos = pipe, options, videos
    self._perceptual = perceptual
    self.seeds: dict[str, tuple[int, int]] = {}
    """Split -> first seed and number of the scenes that were made of it."""

  def tracks(self, split: str, count: int) -> Mapping[str, float]:
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

  def chain(
    self, count: int, more: evaluation_flags.ChainFlags
  ) -> Iterator[tuple[str, intervals.Measured]]:
    """What a user gets of picture and caption, and what it depends on.

    Args:
      count: of scenes.
      more: what is measured besides the tracks.
    """
    examples = [
      self._example(transforms.scene_example, record)
      | {"world_from_camera": record.world_from_camera}
      for record in self._records(CHAIN, count, light=True)
    ]
    pipe, options = self._pipe, self._options
    yield "chain", evaluate_chain.evaluate_chain(pipe, examples, options)
    if more.samples > 1:
      yield (
        "samples",
        evaluate_spread.evaluate_samples(pipe, examples, options, more.samples),
      )
    for level in evaluation_flags.levels(more):
      yield (
        f"depth_noise/{level:g}",
        evaluate_spread.evaluate_depth_noise(pipe, examples, options, level),
      )
    del examples
    if more.cameras:
      shots = self._shots(count, more.cameras)
      yield (
        "films",
        evaluate_films.evaluate_films(pipe, shots, options, self._perceptual),
      )

  def _shots(self, count: int, cameras: int) -> Iterator[evaluate_films.Shot]:
    """Scenes of the chain's split with the films of other cameras."""
    for record in self._records(CHAIN, count, light=False, views=cameras):
      views = [
        self._example(
          functools.partial(transforms.view_example, view=view), record
        )
        for view in range(cameras)
      ]
      yield evaluate_films.Shot(
        views[0],
        [view["target_world_from_camera"] for view in views],
        [view["target_video"] for view in views],
      )

  def unseen(
    self, count: int, kind_count: int, training: int
  ) -> Iterator[tuple[str, Mapping[str, float]]]:
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
    vism = evaluate_films.evaluate_vism(
      pipe, films, self._options, self._perceptual
    )
    yield "vism", vism
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
    views: int = 1,
  ) -> Iterator[Any]:
    """Makes the first records of a split, or their oracles.

    An oracle has the record's picture and caption, and what neither of them
    tells drawn anew. Others that are not light have films of `views` other
    cameras.
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
      views=views,
      kind=chosen.kind,
      version=chosen.version,
    )
    seeds = chosen.part(0, min(count, chosen.size))
    self.seeds[split] = (seeds.start, len(seeds))
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

  def _film(self, record: Any) -> evaluate_films.Film:
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
    return evaluate_films.Film(
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
