"""Makes a data set in parallel; started again, it continues.

Worker processes write one file per record into `parts/`; as soon as all
records of a shard are there, the parent packs them. Every file gets its final
name when it is whole, and a record depends on its place alone, so a run that
was killed at any moment ends, when it is started again, with the same files as
an undisturbed one. `manifest.json` comes last, with a checksum per shard.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import process as pools
from typing import Any

import tqdm

from data_pipelines.trajscene import builder, generation
from more4d_jax import errors
from more4d_jax.data import codec, processes, records, source

MANIFEST_FILE = "manifest.json"
_PARTS = "parts"
_OPTIONS_FILE = "options.json"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
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
    progress: whether to show a bar.
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
  _check_split(options.split)
  out = pathlib.Path(options.out)
  try:
    if (out / MANIFEST_FILE).is_file():
      _compare(out, out / MANIFEST_FILE, options)
      shutil.rmtree(out / _PARTS, ignore_errors=True)
      return out
    parts = _prepare(out, options)
    with _lock(parts):
      _run(out, parts, options, generate)
      shutil.rmtree(parts)
  except OSError as error:
    raise errors.UserError(
      f"cannot write records to {out}: {error.strerror or error}; started "
      f"again, the command continues"
    ) from error
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
  shards = shard_ranges(options)
  paths = source.shard_paths(out, options.split, len(shards))
  there = {int(path.name) for path in parts.iterdir() if path.name.isdigit()}
  open_shards, tasks = {}, []
  for number, (path, places) in enumerate(zip(paths, shards)):
    if not path.exists():
      missing = [place for place in places if place not in there]
      open_shards[number] = len(missing)
      tasks += [(number, task) for task in _tasks(missing, options.scenes)]
  left = sum(open_shards.values())
  with tqdm.tqdm(
    total=options.scenes.count,
    initial=options.scenes.count - left,
    unit="record",
    disable=not options.progress,
  ) as bar:
    for number in [n for n, missing in open_shards.items() if not missing]:
      _pack(parts, paths[number], shards[number])
    with _work(parts, tasks, options, generate) as finished:
      for number, count in finished:
        bar.update(count)
        open_shards[number] -= count
        if not open_shards[number]:
          _pack(parts, paths[number], shards[number])
  _finish(out, paths, shards, options)


def _tasks(
  missing: list[int], scenes: generation.SceneOptions
) -> Iterator[list[int]]:
  points = scenes.frames * scenes.height * scenes.width
  size = int(min(16, max(1, _TASK_VALUES // points)))
  for start in range(0, len(missing), size):
    yield missing[start : start + size]


@contextlib.contextmanager
def _work(
  parts: pathlib.Path,
  tasks: list[tuple[int, list[int]]],
  options: MakeOptions,
  generate: Generate,
) -> Iterator[Iterator[tuple[int, int]]]:
  """Yields an iterator over (shard, number of records made)."""
  count = min(options.processes or os.cpu_count() or 1, max(1, len(tasks)))
  arguments = (str(parts), options.scenes, generate)
  if count == 1:
    yield ((n, _make_parts(*arguments, places)) for n, places in tasks)
    return
  with (
    _single_threaded(),
    futures.ProcessPoolExecutor(
      count, multiprocessing.get_context("spawn"), initializer=_start_worker
    ) as pool,
  ):
    shard_of = {
      pool.submit(_make_parts, *arguments, places): number
      for number, places in tasks
    }
    try:
      yield (
        (shard_of[future], future.result())
        for future in futures.as_completed(shard_of)
      )
    except pools.BrokenProcessPool as error:
      raise errors.UserError(
        "a worker process was killed, perhaps for memory; run the command "
        "again to continue, with fewer --processes"
      ) from error
    finally:
      pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends the work.
  processes.exit_with_parent()


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
  """Workers inherit this: one thread each, or they slow each other down."""
  before = {name: os.environ.get(name) for name in _THREADS}
  os.environ.update(dict.fromkeys(_THREADS, "1"))
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value


def _make_parts(
  parts: str,
  scenes: generation.SceneOptions,
  generate: Generate,
  places: list[int],
) -> int:
  for place in places:
    entry = source.serialise(records.encode(generate(place, scenes)))
    path = pathlib.Path(parts, f"{place:08d}")
    _write(path, entry)
  return len(places)


def _pack(parts: pathlib.Path, path: pathlib.Path, places: range) -> None:
  """Joins the parts of a shard and deletes them."""
  files = [parts / f"{place:08d}" for place in places]
  source.write_shard(path, (_checked(file) for file in files))
  for file in files:
    file.unlink()


def _checked(file: pathlib.Path) -> bytes:
  entry = file.read_bytes()
  try:
    records.verify(source.deserialise(entry))
  except (codec.DamagedError, ValueError) as error:
    file.unlink()
    raise errors.UserError(
      f"{file} was damaged ({error}) and is deleted; run the command again"
    ) from error
  return entry


def _finish(
  out: pathlib.Path,
  paths: list[pathlib.Path],
  shards: list[range],
  options: MakeOptions,
) -> None:
  lengths = [len(places) for places in shards]
  sizes = [path.stat().st_size for path in paths]
  builder.write_metadata(out, options.split, lengths, sum(sizes))
  manifest = {
    **_identity(options),
    "schema_version": records.SCHEMA_VERSION,
    "codec_version": codec.VERSION,
    "shards": [
      {
        "file": path.name,
        "records": length,
        "bytes": size,
        "sha256": file_digest(path),
      }
      for path, length, size in zip(paths, lengths, sizes)
    ],
  }
  text = json.dumps(manifest, indent=2, sort_keys=True)
  _write(out / MANIFEST_FILE, text.encode())


def file_digest(path: pathlib.Path) -> str:
  """The file's SHA-256 in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _prepare(out: pathlib.Path, options: MakeOptions) -> pathlib.Path:
  """Makes `parts/`, or finds that of an earlier run with equal options."""
  parts = out / _PARTS
  if (parts / _OPTIONS_FILE).is_file():
    _compare(out, parts / _OPTIONS_FILE, options)
    return parts
  if out.exists() and any(path.name != _PARTS for path in out.iterdir()):
    raise errors.UserError(
      f"{out} holds other files; choose a new directory for the records"
    )
  parts.mkdir(parents=True, exist_ok=True)
  text = json.dumps(_identity(options), indent=2, sort_keys=True)
  _write(parts / _OPTIONS_FILE, text.encode())
  return parts


def _identity(options: MakeOptions) -> dict[str, Any]:
  """What decides the files; not where and how fast they are made."""
  return {
    "scenes": dataclasses.asdict(options.scenes),
    "split": options.split,
    "records_per_shard": len(shard_ranges(options)[0]),
  }


def _compare(
  out: pathlib.Path, file: pathlib.Path, options: MakeOptions
) -> None:
  try:
    found = json.loads(file.read_text())
  except ValueError as error:
    raise errors.UserError(
      f"{file} is damaged ({error}); delete {out} and run the command again"
    ) from error
  for name, wanted in _flat(_identity(options)).items():
    there = _flat(found).get(name)
    if there != wanted:
      raise errors.UserError(
        f"{out} holds records of other options: {name} is {there!r}, asked "
        f"for {wanted!r}; choose another directory, or delete it"
      )


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
  return {**identity["scenes"], **identity, "scenes": None}


def _check_split(split: str) -> None:
  if not split.isidentifier():
    raise errors.UserError(
      f"split is {split!r}; expected a name of letters, digits and _"
    )


def _write(path: pathlib.Path, content: bytes) -> None:
  """Writes a file whole or not at all."""
  temporary = path.with_name(f"{path.name}.{os.getpid()}.incomplete")
  temporary.write_bytes(content)
  os.replace(temporary, path)


@contextlib.contextmanager
def _lock(parts: pathlib.Path) -> Iterator[None]:
  with (parts / "lock").open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise errors.UserError(
        f"another process is making records in {parts.parent}; wait for it, or "
        f"choose another directory"
      ) from error
    yield
