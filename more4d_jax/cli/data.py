"""`more4d data`: makes, imports, checks, counts, shows, caches records."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Literal

from more4d_jax import errors
from more4d_jax.cli import (
  data_cache,
  data_curation,
  data_imports,
  outputs,
)


def make(
  *,
  out: str,
  count: int,
  frames: int,
  height: int,
  width: int,
  config: str | None = None,
  seed: int = 0,
  kind: Literal["procedural", "photos"] = "procedural",
  photos: str | None = None,
  depth: str | None = None,
  textures: str | None = None,
  scenes: str = "all",
  version: int | None = None,
  light: bool = False,
  views: int = 0,
  seeds_of: str | None = None,
  split: str = "train",
  processes: int | None = None,
) -> None:
  """Makes records in parallel; the same command again continues.

  Args:
    out: folder of data sets; the records lie in `traj_scene/CONFIG/VERSION`
      of it, where tfds.data_source('traj_scene/CONFIG', data_dir=OUT) looks.
    count: number of records.
    frames: frames of each, 4k + 1.
    height: rows of the grid.
    width: columns of the grid.
    config: name of the data set; the kind unless given.
    seed: record i is made from seed + i.
    kind: procedural scenes; or photos, photographs that move: cut into layers
      by their depth, moved in space and filmed again, with exact tracks.
    photos: folder of photographs, of any size; NAME.txt beside a picture says
      what it shows. Procedural scenes take them as backdrops.
    depth: of the photographs: a folder of depth files named like them,
      MODULE:FUNCTION (takes a picture, returns metres), a directory made by
      `more4d bundle`, or a metric network of Depth Anything
      (depth-anything/NAME on the Hugging Face hub, or its folder).
    textures: folder of photographs that become the surfaces of procedural
      scenes.
    scenes: which procedural scenes: all, motion, rigid, flag, chain and, from
      version 2 on, person, animal, bird, wheel, cart, spinner, pendulum,
      plant, door, chest, drawer, collision, fall, jelly, blob, and tumble
      (needs MuJoCo: pip install 'more4d_jax[sim]').
    version: of procedural scenes: 1, few kinds in plain daylight; 2, many
      kinds, grounds and lights; 3, filmed like photographs in fields, streets,
      rooms and on tables; 3 unless given.
    light: keep film and depth of the first frame only.
    views: number of other cameras that film each scene.
    seeds_of: scenes of an evaluation split: motion64, unseen, ...; record i
      is then the split's scene number seed + i.
    split: name in the data set.
    processes: worker processes; one per core unless given.
  """
  from data_pipelines.trajscene import generation
  from data_pipelines.trajscene import make as making
  from more4d_jax.data import record_directory

  if processes is not None and processes < 1:
    raise errors.UserError(f"processes is {processes}; expected at least 1")
  outputs.check_folder(pathlib.Path(out))
  if kind == "procedural" and seeds_of is None and version is None:
    version = generation.NEWEST
  options = making.MakeOptions(
    out=str(record_directory.named(out, config or kind)),
    scenes=generation.SceneOptions(
      count=count,
      frames=frames,
      height=height,
      width=width,
      seed=seed,
      kind=kind,
      scenes=scenes,
      light=light,
      views=views,
      seeds_of=seeds_of,
      version=version,
      photos=photos,
      depth=depth,
      textures=textures,
    ),
    split=split,
    processes=processes,
  )
  directory = making.make_records(options)
  print(f"{count} records in {directory}")


def _one_directory(
  command: str, directory: str | None, records: str | None
) -> str:
  """The directory that was given, as an argument or as --records."""
  given = [path for path in (directory, records) if path is not None]
  if len(given) != 1:
    raise errors.UserError(
      f"expected one directory of records, found "
      f"{' and '.join(given) or 'none'}: more4d data {command} DIR"
    )
  return given[0]


def validate(
  directory: str | None = None,
  /,
  *,
  records: str | None = None,
  split: str | None = None,
) -> None:
  """Checks every record and the manifest; fails if anything is wrong.

  Args:
    directory: the data set, or a folder above it.
    records: the same, as a flag.
    split: one of its splits; all of them unless given.
  """
  from data_pipelines.trajscene import validate as validating

  records = _one_directory("validate", directory, records)
  report = validating.validate(records, split, show_progress=True)
  for line in (*report.problems, *report.notes):
    print(line)
  if report.problems:
    raise errors.UserError(
      f"{len(report.problems)} problems in the {report.count} records of "
      f"{records}; make or copy them again"
    )
  print(f"{report.count} records in {records}, nothing wrong")


def stats(
  directory: str | None = None,
  /,
  *,
  records: str | None = None,
  split: str | None = None,
  limit: int | None = None,
  out: str | None = None,
  plots: str | None = None,
) -> None:
  """Counts: sizes, motion, depth, captions.

  Args:
    directory: the data set, or a folder above it.
    records: the same, as a flag.
    split: its split, where there are several.
    limit: greatest number of records that are read, evenly spread.
    out: also write it as JSON to this file.
    plots: also draw histograms into this PNG file.
  """
  from data_pipelines.trajscene import stats as counting

  records = _one_directory("stats", directory, records)
  for path in filter(None, (out, plots)):
    outputs.check_file(pathlib.Path(path))
  found = counting.stats(
    records, split, limit=limit, plots=plots, show_progress=True
  )
  if out is not None:
    pathlib.Path(out).write_text(json.dumps(found, indent=2))
  print(counting.as_text(found))


def show(
  directory: str | None = None,
  /,
  *,
  records: str | None = None,
  out: str = "records.mp4",
  split: str | None = None,
  first: int = 0,
  count: int = 4,
  sheet: int | None = None,
) -> None:
  """Records as a film (picture, depth, trails, visibility), sheet or pages.

  Args:
    directory: the data set, or a folder above it.
    records: the same, as a flag.
    out: file to write: .mp4 for a film, .html for points to turn in a browser,
      .png for a sheet.
    split: its split, where there are several.
    first: number of the first record.
    count: how many records: rows of the film, or pages.
    sheet: number of records, evenly spread, in one picture: first frame, depth,
      ways of the points, caption.
  """
  from data_pipelines.trajscene import show as showing

  records = _one_directory("show", directory, records)
  if sheet is not None:
    print(f"wrote {showing.sheet(records, out, sheet, split=split)}")
    return
  for path in showing.show(records, out, split=split, first=first, count=count):
    print(f"wrote {path}")


commands: Mapping[str, Callable[..., None]] = {
  "make": make,
  "import": data_imports.import_records,
  "track": data_imports.track,
  "validate": validate,
  "stats": stats,
  "show": show,
  "curate": data_curation.curate,
  "ask": data_curation.ask,
  "cache": data_cache.cache,
}
"""Subcommand -> function; its arguments are those of the command line."""
