"""The record at each place of a generated data set."""

import dataclasses
from typing import Any

from more4d_jax import errors
from more4d_jax.data import records

KINDS = ("procedural", "photos")
NEWEST = 3
"""Version of the procedural scenes that `more4d data make` makes."""


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
    views: number of other cameras that film the scene.
    seeds_of: a split of `procedural.splits` (motion64, unseen, ...) whose
      scenes are made, from its number `seed` on; None takes the training
      seeds, which no other split shares.
    version: of the scenes, 1, 2 or 3; None takes the split's own, or 1.
    photos: folder of the photographs of kind "photos", or of the backdrops of
      version 3.
    depth: of photographs, see `photos.depth_maps.HELP`.
    textures: folder of photographs that become surfaces of version 3.
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
  version: int | None = None
  photos: str | None = None
  depth: str | None = None
  textures: str | None = None


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
  if options.kind == "photos":
    _check_photos(options)
    return
  if options.depth is not None:
    raise errors.UserError(
      "depth belongs to kind photos, found kind procedural"
    )
  split = _split(options)
  _check_folders(options, split.version)
  _check_scenes(options.scenes, split.version)
  if options.seed + options.count > split.size:
    name = options.seeds_of or "training"
    raise errors.UserError(
      f"seeds {options.seed} to {options.seed + options.count - 1} are asked "
      f"for, {name} has {split.size} scenes; choose a smaller seed or count"
    )


def generate(index: int, options: SceneOptions) -> records.Record:
  """The record at a place; depends on nothing else."""
  if options.kind == "photos":
    return _photograph(index, options)
  from data_pipelines.procedural import records as procedural

  split = _split(options)
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
      version=split.version,
      textures=options.textures,
      photos=options.photos,
    ),
  )


def source_digest(options: SceneOptions) -> str | None:
  """What the records are made of, besides the options; None for nothing."""
  from data_pipelines.photos import folder

  folders = [f for f in (options.photos, options.textures) if f is not None]
  return " ".join(map(folder.digest, folders)) or None


def _photograph(index: int, options: SceneOptions) -> records.Record:
  from data_pipelines.photos import records as photographs

  return photographs.make_record(
    options.seed + index,
    photographs.RecordOptions(
      photos=options.photos,
      depth=options.depth,
      frames=options.frames,
      height=options.height,
      width=options.width,
      light=options.light,
      views=options.views,
    ),
  )


def _check_photos(options: SceneOptions) -> None:
  from data_pipelines.photos import depth_maps, folder

  if options.photos is None:
    raise errors.UserError("kind photos needs --photos, a folder of pictures")
  if (
    options.scenes,
    options.seeds_of,
    options.version,
    options.textures,
  ) != ("all", None, None, None):
    raise errors.UserError(
      "scenes, seeds_of, version and textures belong to kind procedural, found "
      "kind photos"
    )
  if min(options.height, options.width) < 16:
    raise errors.UserError(
      f"photographs need a grid of at least 16 x 16, found {options.height} x "
      f"{options.width}"
    )
  if options.frames < 5:
    raise errors.UserError(
      f"frames is {options.frames}; photographs that move need at least 5"
    )
  folder.listing.cache_clear()  # It may have changed since the last command.
  folder.listing(options.photos)
  depth_maps.provider(options.depth)


def _check_folders(options: SceneOptions, version: int) -> None:
  """Checks the photographs that procedural scenes are made with."""
  from data_pipelines.photos import folder

  for name in ("textures", "photos"):
    place = getattr(options, name)
    if place is None:
      continue
    if version != NEWEST:
      raise errors.UserError(
        f"{name} belong to version {NEWEST} of the procedural scenes, found "
        f"version {version}; leave them out or choose version {NEWEST}"
      )
    folder.listing.cache_clear()  # It may have changed since the last command.
    folder.listing(place)


def _split(options: SceneOptions) -> Any:
  """The named split, or the training seeds of the version."""
  from data_pipelines.procedural import splits

  name = options.seeds_of
  if name is not None and name not in splits.SPLITS:
    raise errors.UserError(
      f"no split of scenes {name!r}; there are "
      f"{', '.join(sorted(splits.SPLITS))}"
    )
  if options.version not in (None, *splits.TRAINING):
    raise errors.UserError(
      f"no version {options.version} of the procedural scenes; there are "
      f"{', '.join(map(str, splits.TRAINING))}"
    )
  split = splits.SPLITS[name or splits.TRAINING[options.version or 1]]
  if options.version not in (None, split.version):
    raise errors.UserError(
      f"split {name} has scenes of version {split.version}, asked for "
      f"{options.version}; leave the version out"
    )
  return split


def _check_scenes(name: str, version: int) -> None:
  from data_pipelines.procedural import catalogue

  kinds = catalogue.VERSIONS[version].kinds
  if name != "all" and name not in kinds:
    raise errors.UserError(
      f"no procedural scenes {name!r} of version {version}; there are all, "
      f"{', '.join(kinds)}"
    )
