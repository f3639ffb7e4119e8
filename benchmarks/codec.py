"""Bytes and decoding rates of records, as made and as trackers would see them.

Run from the repository: python benchmarks/codec.py --out FILE.md
It prints a table, and writes it where `--out` says. Scenes are procedural;
`each camera` has its tracks in every frame's own camera, `mild` and `strong`
jitter add what a tracker and a depth network add to them. Rates are records a
second with all `--threads` decoding different records: of wall time, and in
brackets of the CPU time of one thread, which other work on the machine does
not change as much.
"""

import argparse
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator
from concurrent import futures

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import zstandard
from jaxtyping import Float, Float32

from data_pipelines.procedural import records as procedural
from more4d_jax.data import records
from more4d_jax.data.codec import array_codec, depth_codec, track_codec

MILD = {"pixels": 0.15, "depth": 0.003, "grids": (8, 16), "memory": 0.9}
STRONG = {"pixels": 0.3, "depth": 0.005, "grids": (4, 8), "memory": 0.8}


def each_camera(record: records.Record) -> Float32[np.ndarray, "T H W 3"]:
  """Tracks in the camera of each frame."""
  camera_from_world = np.linalg.inv(record.world_from_camera.astype(np.float64))
  found = np.empty_like(record.tracks)
  for t, pose in enumerate(camera_from_world.astype(np.float32)):
    found[t] = record.tracks[t] @ pose[:3, :3].T + pose[:3, 3]
  return found


def smooth_noise(
  rng: np.random.Generator, shape: tuple[int, int], grid: int
) -> Float[np.ndarray, "H W"]:
  """Noise of unit variance on a coarse grid, linear in between."""
  coarse = rng.standard_normal([size // grid + 2 for size in shape])
  for axis, size in enumerate(shape):
    place = np.arange(size) / grid
    below = place.astype(int)
    weight = np.expand_dims(place - below, 1 - axis)
    low, high = (coarse.take(below + i, axis=axis) for i in (0, 1))
    coarse = low * (1 - weight) + high * weight
  return coarse


def jitter(
  tracks: Float32[np.ndarray, "T H W 3"],
  intrinsics: Float32[np.ndarray, "4"],
  *,
  pixels: float,
  depth: float,
  grids: tuple[int, int],
  memory: float,
) -> Float32[np.ndarray, "T H W 3"]:
  """Errors of a tracker: smooth in space, with a memory in time."""
  rng = np.random.default_rng(0)
  found, shape = tracks.copy(), tracks.shape[1:3]
  noise = [0.0, 0.0, 0.0]
  for t in range(1, len(tracks)):
    fresh = [smooth_noise(rng, shape, grids[axis == 2]) for axis in range(3)]
    share = np.sqrt(1 - memory**2) if t > 1 else 1.0
    noise = [memory * old + share * new for old, new in zip(noise, fresh)]
    z = tracks[t, :, :, 2]
    found[t, :, :, 2] = z * (1 + depth * noise[2])
    for axis in range(2):
      off = pixels * noise[axis] / intrinsics[axis]
      slope = tracks[t, :, :, axis] / z + off
      found[t, :, :, axis] = slope * found[t, :, :, 2]
  return found


def cases(
  rigid: records.Record, mixed: records.Record
) -> Iterator[tuple[str, records.Record, Float32[np.ndarray, "T H W 3"]]]:
  """Name, record and its tracks."""
  moved = each_camera(mixed)
  yield "rigid", rigid, rigid.tracks
  yield "all kinds", mixed, mixed.tracks
  yield "each camera", mixed, moved
  for name, options in (("mild jitter", MILD), ("strong jitter", STRONG)):
    yield name, mixed, jitter(moved, mixed.intrinsics, **options)


def rate(
  work: Callable[[int], None], count: int, threads: int, repeats: int
) -> str:
  """Calls a second of `work(0)`, `work(1)`, ...: of wall, of CPU time."""
  with futures.ThreadPoolExecutor(threads) as pool:
    list(pool.map(work, range(count)))
    start, cpu = time.perf_counter(), time.process_time()
    list(pool.map(work, [i % count for i in range(count * repeats)]))
  wall, cpu = time.perf_counter() - start, time.process_time() - cpu
  return f"{count * repeats / wall:.1f} ({count * repeats / cpu:.1f})"


def measure(
  name: str, scenes: list[tuple[records.Record, np.ndarray]], threads: int
) -> str:
  """One row of the table: the mean over scenes of one case."""
  sizes, blobs, videos, spent, worst = [], [], [], 0.0, 0.0
  for record, tracks in scenes:
    start = time.process_time()
    blob = track_codec.encode(tracks, record.intrinsics, 5e-4)
    spent += time.process_time() - start
    error = np.abs(track_codec.decode(blob) - tracks).max(axis=(0, 3))
    worst = max(worst, float((error / tracks[0, :, :, 2]).max()))
    half = zstandard.ZstdCompressor(level=3).compress(
      tracks.astype(np.float16).tobytes()
    )
    blobs.append(blob)
    videos.append(array_codec.encode_video(record.video, record.fps))
    rest = len(depth_codec.encode(record.depth, 5e-4))
    rest += len(array_codec.encode_mask(record.visible))
    whole = len(blob) + len(videos[-1]) + rest
    sizes.append([tracks.nbytes, len(half), len(blob), whole])

  def planes(i: int) -> None:
    track_codec.decode_planes(blobs[i])

  def video_and_planes(i: int) -> None:
    array_codec.decode_video(videos[i])
    track_codec.decode_planes(blobs[i])

  def whole_tracks(i: int) -> None:
    track_codec.decode(blobs[i])

  rates = [
    rate(work, len(scenes), threads, repeats=4)
    for work in (planes, video_and_planes, whole_tracks)
  ]
  cells = [f"{size / 1e6:.2f}" for size in np.mean(sizes, axis=0)]
  cells += [f"{worst:.2e}", f"{spent / len(scenes):.1f}"]
  return f"| {name} | " + " | ".join([*cells, *rates]) + " |"


def main() -> None:
  """Makes scenes, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--scenes", type=int, default=2)
  parser.add_argument("--frames", type=int, default=49)
  parser.add_argument("--height", type=int, default=368)
  parser.add_argument("--width", type=int, default=512)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--out", type=pathlib.Path)
  flags = parser.parse_args()
  found: dict[str, list[tuple[records.Record, np.ndarray]]] = {}
  for seed in range(flags.scenes):
    made = [
      procedural.make_record(
        seed,
        procedural.RecordOptions(
          flags.frames, flags.height, flags.width, kind=kind, views=0
        ),
      )
      for kind in ("rigid", "all")
    ]
    for name, record, tracks in cases(*made):
      found.setdefault(name, []).append((record, tracks))
  shape = f"{flags.frames}x{flags.height}x{flags.width}"
  lines = [
    f"Records of {shape}, {flags.scenes} scenes a row, {flags.threads} "
    f"threads on {os.cpu_count()} cores, {platform.machine()}, NumPy "
    f"{np.__version__}. Tracks within 5e-4 of the first depth, depth within "
    f"5e-4, H.264 4:4:4 crf {array_codec.VIDEO_CRF}. MB are 1e6 bytes; "
    "encoding in "
    f"CPU seconds; the last three columns are records a second (and a CPU "
    f"second of one thread). Load average at the start: "
    f"{os.getloadavg()[0]:.1f}.",
    "",
    "| tracks | float32 MB | float16 + zstd MB | ours MB | whole record MB | "
    "worst error | encode s | to planes | video + planes | to tracks |",
    "|---|" + "---|" * 9,
  ]
  print("\n".join(lines), flush=True)
  for name, scenes in found.items():
    lines.append(measure(name, scenes, flags.threads))
    print(lines[-1], flush=True)
  if flags.out:
    flags.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
  main()
