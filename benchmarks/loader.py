"""Records a second through the loader, and its memory over many records.

Run from the repository: python benchmarks/loader.py --out FILE.md
Records are procedural, read from ArrayRecord files in a temporary directory
whose pages are in memory. `planes` returns coefficient planes and the video
as they are, for the device to multiply. With `--memory N` it also reads N
records of 5 MB (of zeros, which the file holds compressed) and says how much
larger the process has become from the tenth part of them to the end.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from array_record.python import array_record_module

from data_pipelines.procedural import records as procedural
from more4d_jax.data import loader, record_directory, records, transforms
from more4d_jax.data.codec import array_codec

SIZES = {"17x64x96": (17, 64, 96), "49x368x512": (49, 368, 512)}
_READ = 1024
_PADDING = 5_000_000
_PER_SHARD = 100


def planes(item: records.EncodedRecord) -> dict[str, np.ndarray]:
  """The factors of the tracks, and the video."""
  factors = item.track_planes().padded(num_planes=24, num_points=4096)
  return {**factors, "video": array_codec.decode_video(item.fields["video"])}


EXAMPLES: dict[str, Callable[[Any], dict[str, Any]]] = {
  "tracks (motion VAE)": transforms.motion_example,
  "scene (STraG)": transforms.scene_example,
  "video and depth (video VAE)": transforms.video_example,
  "planes and video": planes,
}


def write(directory: pathlib.Path, entries: list[bytes]) -> None:
  """A data set of one shard."""
  directory.mkdir()
  (path,) = record_directory.shard_paths(directory, "train", 1)
  record_directory.write_shard(path, entries)
  splits = [{"name": "train", "shardLengths": [str(len(entries))]}]
  (directory / record_directory.INFO_FILE).write_text(
    json.dumps({"splits": splits})
  )


def speed(
  opened: record_directory.RecordSource,
  transform: Callable[[Any], dict[str, Any]],
  threads: int,
  seconds: float,
) -> tuple[float, float]:
  """Records a second of wall time, and of CPU time."""
  config = loader.LoaderConfig(2, threads=threads, prefetch=2)
  made = loader.make_loader(opened, transform, config)
  for _ in range(3):
    next(made)
  count, start, cpu = 0, time.perf_counter(), time.process_time()
  while time.perf_counter() < start + seconds:
    count += len(next(iter(next(made).values())))
  rates = (
    count / (time.perf_counter() - start),
    count / (time.process_time() - cpu),
  )
  made.close()
  return rates


def speeds(
  root: pathlib.Path, threads: int, seconds: float, counts: list[int]
) -> Iterator[str]:
  """Lines of a table."""
  yield "| size | example | records / s | records / CPU s |"
  yield "|---|---|---|---|"
  for (name, (frames, height, width)), count in zip(SIZES.items(), counts):
    options = procedural.RecordOptions(frames, height, width, views=0)
    entries = [
      record_directory.serialise(
        records.encode(procedural.make_record(seed, options))
      )
      for seed in range(count)
    ]
    write(root / name, entries)
    paths = record_directory.shard_paths(root / name, "train", 1) * (
      _READ // count
    )
    # Many, because grain shuffles a handful of records slowly.
    opened = record_directory.RecordSource(paths, [count] * len(paths))
    for kind, transform in EXAMPLES.items():
      wall, cpu = speed(opened, transform, threads, seconds)
      yield f"| {name} | {kind} | {wall:.1f} | {cpu:.1f} |"


def resident() -> float:
  """MB of this process in memory."""
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def number(item: records.EncodedRecord) -> dict[str, np.ndarray]:
  """A little of a record whose bytes were all read."""
  size = sum(len(blob) for blob in item.fields.values())
  caption = item.decode(("caption",))["caption"]
  return {"bytes": np.int64(size), "words": np.int64(len(caption.split()))}


def memory(root: pathlib.Path, count: int, threads: int) -> str:
  """Reads many records and compares sizes of the process."""
  options = procedural.RecordOptions(5, 32, 48, light=True)
  fields = records.encode(procedural.make_record(0, options))
  entry = record_directory.serialise({**fields, "padding": bytes(_PADDING)})
  path = root / "padded"
  writer = array_record_module.ArrayRecordWriter(
    str(path), "group_size:1,zstd:1"
  )
  for _ in range(_PER_SHARD):
    writer.write(entry)
  writer.close()
  shards = count // _PER_SHARD
  opened = record_directory.RecordSource([path] * shards, [_PER_SHARD] * shards)
  config = loader.LoaderConfig(2, threads=threads, num_epochs=1)
  made = loader.make_loader(opened, number, config)
  sizes, start, total = [], time.perf_counter(), 0
  for step, batch in enumerate(made, 1):
    total += int(batch["bytes"].sum())
    if step % (count // 20) == 0:
      sizes.append(resident())
  made.close()
  seconds = time.perf_counter() - start
  return (
    f"{shards * _PER_SHARD} records of {total / count / 1e6:.1f} MB "
    f"({total / 1e9:.1f} GB) in {seconds:.0f} s: {sizes[0]:.0f} MB of memory "
    f"after a tenth of them, {max(sizes[1:]):.0f} MB at most later, "
    f"{sizes[-1]:.0f} MB at the end."
  )


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--seconds", type=float, default=5.0)
  parser.add_argument("--records", type=int, nargs=2, default=[16, 2])
  parser.add_argument("--memory", type=int, default=0)
  parser.add_argument("--out", type=pathlib.Path)
  flags = parser.parse_args()
  lines = [
    f"{flags.threads} reading threads on {os.cpu_count()} cores, load average "
    f"{os.getloadavg()[0]:.1f} at the start.",
    "",
  ]
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    lines += speeds(root, flags.threads, flags.seconds, flags.records)
    print("\n".join(lines), flush=True)
    if flags.memory:
      lines += ["", memory(root, flags.memory, flags.threads)]
      print(lines[-1])
  if flags.out:
    flags.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
  main()
