"""Makes a data set in parallel; started again, it continues.

Worker processes write one file per record into `parts/`; as soon as all
records of a shard are there, the parent packs them. Every file gets its final
name when it is whole, and a record depends on its place alone, so a run that
was killed at any moment ends, when it is started again, with the same files as
an undisturbed one. `manifest.json` comes last, with a checksum per shard.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from data_pipelines.trajscene import generation, progress, shards, workers
from more4d_jax.data import record_directory, records

_TASK_VALUES = 2e6  # Track points in a worker's task: about a second.
_SHARD_VALUES = 5e8  # Track points in a shard: 0.1 to 1 GB.

Generate = Callable[[int, generation.SceneOptions], records.Record]


@dataclasses.dataclass(frozen=True)
class MakeOptions:
  """What to make, where and how.

  Attributes:
    out: directory of the data set.
    scenes: the records.
    split: its name in the data set.
    records_per_shard: None chooses by size.
    processes: None takes one per core; 1 works without worker processes.
    progress: whether to show how far it is.
  """

  out: str
  scenes: generation.SceneOptions
  split: str = "train"
  records_per_shard: int | None = None
  processes: int | None = None
  progress: bool = True


def make_records(
  options: MakeOptions, generate: Generate = generation.generate
) -> pathlib.Path:
  """Makes what is not there yet.

  Args:
    options: see `MakeOptions`.
    generate: (place, scene options) -> record; a function of a module.

  Returns: the directory.

  Raises:
    UserError: bad options, a directory of something else, another run at
      work in it, a disk that is full or read-only.
  """
  generation.check(options.scenes)
  shards.check_split(options.split)
  out = pathlib.Path(options.out)
  with shards.opened(out, _identity(options)) as parts:
    if parts is not None:
      _run(out, parts, options, generate)
  return out


def shard_ranges(options: MakeOptions) -> list[range]:
  """Places of the records in each shard."""
  scenes = options.scenes
  size = options.records_per_shard
  if size is None:
    points = scenes.frames * scenes.height * scenes.width
    size = int(min(256, max(16, _SHARD_VALUES // points)))
  return [
    range(start, min(start + size, scenes.count))
    for start in range(0, scenes.count, size)
  ]


def _run(
  out: pathlib.Path,
  parts: pathlib.Path,
  options: MakeOptions,
  generate: Generate,
) -> None:
  ranges = shard_ranges(options)
  paths = record_directory.shard_paths(out, options.split, len(ranges))
  there = {int(path.name) for path in parts.iterdir() if path.name.isdigit()}
  missing, tasks = {}, []
  for number, (path, places) in enumerate(zip(paths, ranges)):
    if not path.exists():
      places_left = [place for place in places if place not in there]
      missing[number] = len(places_left)
      tasks += [
        (str(parts), options.scenes, generate, number, task)
        for task in _tasks(places_left, options.scenes)
      ]

  def pack(number: int) -> None:
    files = [parts / f"{place:08d}" for place in ranges[number]]
    shards.pack(paths[number], files)

  count = options.scenes.count
  done = count - sum(missing.values())
  with progress.shown(count, done, enabled=options.progress) as advance:
    for number in [n for n, left in missing.items() if not left]:
      pack(number)
    with workers.run(_make_parts, tasks, options.processes) as finished:
      for number, made in finished:
        advance(made)
        missing[number] -= made
        if not missing[number]:
          pack(number)
  lengths = [len(places) for places in ranges]
  shards.finish(out, options.split, paths, lengths, _identity(options))


def _tasks(
  missing: list[int], scenes: generation.SceneOptions
) -> Iterator[list[int]]:
  points = scenes.frames * scenes.height * scenes.width
  size = int(min(16, max(1, _TASK_VALUES // points)))
  for start in range(0, len(missing), size):
    yield missing[start : start + size]


def _make_parts(
  parts: str,
  scenes: generation.SceneOptions,
  generate: Generate,
  shard: int,
  places: list[int],
) -> tuple[int, int]:
  """Returns the shard and how many of its records were made."""
  for place in places:
    entry = record_directory.serialise(records.encode(generate(place, scenes)))
    shards.write_file(pathlib.Path(parts, f"{place:08d}"), entry)
  return shard, len(places)


def _identity(options: MakeOptions) -> dict[str, Any]:
  """What decides the files; not where and how fast they are made."""
  digest = generation.source_digest(options.scenes)
  return {
    **({} if digest is None else {"source_digest": digest}),
    "scenes": dataclasses.asdict(options.scenes),
    "split": options.split,
    "records_per_shard": len(shard_ranges(options)[0]),
  }
