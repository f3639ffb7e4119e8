"""Which record stands at which place of a generated data set."""

import dataclasses
from typing import Any

from more4d_jax import errors
from more4d_jax.data import records

KINDS = ("procedural",)
_TRAINING = "train"


@dataclasses.dataclass(frozen=True)
class SceneOptions:
  """A generated data set; equal options give equal bytes.

  Attributes:
    count: number of records.
    frames: 4k + 1 frames of each.
    height: rows of the grid.
    width: columns of the grid.
    seed: record i is made from seed + i.
    kind: the generator.
    scenes: which scenes it makes: all, motion, rigid, ...
    light: film and depth of the first frame only.
    views: true films by so many other cameras.
    seeds_of: a split of `procedural.splits` (motion64, unseen, ...) whose
      scenes are made, from its number `seed` on; None takes the training
      seeds, which no other split shares.
  """

  count: int
  frames: int
  height: int
  width: int
  seed: int = 0
  kind: str = "procedural"
  scenes: str = "all"
  light: bool = False
  views: int = 0
  seeds_of: str | None = None


def check(options: SceneOptions) -> None:
  """Raises UserError for options that cannot be made."""
  if options.kind not in KINDS:
    raise errors.UserError(
      f"no record generator {options.kind!r}; there are {', '.join(KINDS)}"
    )
  least = {"count": 1, "height": 1, "width": 1, "seed": 0, "views": 0}
  for name, limit in least.items():
    value = getattr(options, name)
    if value < limit:
      raise errors.UserError(f"{name} is {value}; expected at least {limit}")
  if options.frames < 1 or options.frames % 4 != 1:
    raise errors.UserError(
      f"frames is {options.frames}; expected 4k + 1 (1, 5, 9, ...), what the "
      f"video autoencoder takes"
    )
  _check_scenes(options.scenes)
  split = _split(options.seeds_of)
  if options.seed + options.count > split.size:
    name = options.seeds_of or _TRAINING
    raise errors.UserError(
      f"seeds {options.seed} to {options.seed + options.count - 1} are asked "
      f"for, {name} has {split.size} scenes; choose a smaller seed or count"
    )


def generate(index: int, options: SceneOptions) -> records.Record:
  """The record at a place; depends on nothing else."""
  from data_pipelines.procedural import records as procedural

  split = _split(options.seeds_of)
  scenes = options.scenes if options.seeds_of is None else split.kind
  return procedural.make_record(
    split.start + options.seed + index,
    procedural.RecordOptions(
      frames=options.frames,
      height=options.height,
      width=options.width,
      light=options.light,
      kind=scenes,
      views=options.views,
    ),
  )


def _split(name: str | None) -> Any:
  """A named split; the training seeds where none is named."""
  from data_pipelines.procedural import splits

  if name is not None and name not in splits.SPLITS:
    raise errors.UserError(
      f"no split of scenes {name!r}; there are "
      f"{', '.join(sorted(splits.SPLITS))}"
    )
  return splits.SPLITS[name or _TRAINING]


def _check_scenes(name: str) -> None:
  from data_pipelines.procedural import scenes

  if name != "all" and name not in scenes.KINDS:
    raise errors.UserError(
      f"no procedural scenes {name!r}; there are all, {', '.join(scenes.KINDS)}"
    )
