"""What the parts share: flags, timing, peaks, and the kernels of a profile."""

import argparse
import contextlib
import json
import pathlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from more4d_jax import partitioning
from more4d_jax.kernels.attention import benchmark as attention_benchmark

_TOP = 8  # Kernels of a profile that are named.


def reduced(doc: str) -> bool:
  """Whether a part was asked to run at a small size."""
  parser = argparse.ArgumentParser(description=doc)
  parser.add_argument("--reduced", action="store_true")
  return parser.parse_args().reduced


def say(line: Mapping[str, Any]) -> None:
  """Prints one result."""
  print(json.dumps(dict(line)), flush=True)


@contextlib.contextmanager
def attempt(line: dict[str, Any]) -> Iterator[None]:
  """Says a line when the block ends, with the reason if it could not run.

  What a device cannot run or has no memory for is a result of its own.
  """
  try:
    yield
  except (ValueError, NotImplementedError, RuntimeError, ImportError) as error:
    line["error"] = (str(error).splitlines() or ["no message"])[0][:200]
  say(line)


def device_mesh() -> jax.sharding.Mesh:
  """The mesh of the one device; in force, kernels know what they run on."""
  return partitioning.one_device()


def speed(flops: float, taken: float) -> dict[str, float]:
  """TFLOP/s and, in bfloat16, the share of the device's peak."""
  found = {"tflops": round(flops / taken / 1e12, 2)}
  peak = attention_benchmark.peak(jax.devices()[0].device_kind)
  if peak:
    found["share_of_peak"] = round(found["tflops"] / peak, 3)
  return found


def peak_gib() -> float | None:
  """Most memory in use on the device so far; None where it is not told."""
  stats = jax.devices()[0].memory_stats() or {}
  used = stats.get("peak_bytes_in_use")
  return None if used is None else round(used / 2**30, 2)


def top_kernels(run: Callable[[], Any]) -> list[dict[str, Any]]:
  """The kernels that a call spends most time in, of the device's profile."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      jax.block_until_ready(run())
    spent: Counter[str] = Counter()
    for file in pathlib.Path(folder).rglob("*.xplane.pb"):
      profile = jax.profiler.ProfileData.from_file(str(file))
      for plane in profile.planes:
        if "GPU" not in plane.name and "TPU" not in plane.name:
          continue
        for line in plane.lines:
          for event in line.events:
            spent[event.name] += event.duration_ns
  total = sum(spent.values())
  return [
    {
      "kernel": name[:80],
      "milliseconds": round(spent_ns / 1e6, 3),
      "share": round(spent_ns / total, 3),
    }
    for name, spent_ns in spent.most_common(_TOP)
  ]
