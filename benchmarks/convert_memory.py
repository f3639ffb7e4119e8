"""Peak memory of converting the 14B transformer, and of giving it back.

  python benchmarks/convert_memory.py --layers 2,4 [--random]

A bfloat16 file has the published names and shapes, with fewer layers than the
published 40 unless told otherwise. Its numbers are a hole in the file, so that
it needs no disk, or with --random random bits, which do not compress. Every
conversion runs in a process of its own; the peak is that process's largest
resident memory, libraries included. One line of JSON for each count of layers.
"""

import argparse
import json
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

from more4d_jax.name_maps import dit, table
from more4d_jax.published import convert, revert

# Wan2.1-Fun-V1.1-14B-InP.
_SIZES = {
  "D": 5120,
  "M": 13824,
  "C": 36,
  "T": 4096,
  "F": 256,
  "I": 1280,
  "V": 64,
  "pt": 1,
  "ph": 2,
  "pw": 2,
}
_BLOCK = 1 << 26


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
  """Published name -> shape."""
  found = {}
  for row in dit.DIT.rows:
    if row.group in ("", "image"):
      shape = tuple(f * _SIZES[n] if n else f for f, n in row.dims)
      for i in range(layers) if table.LAYER in row.name else (0,):
        found[row.name.replace(table.LAYER, str(i))] = shape
  return found


def make(path: pathlib.Path, layers: int, *, random: bool) -> int:
  """Writes the file and returns the bytes of its tensors."""
  header, start = {}, 0
  for name, shape in shapes(layers).items():
    stop = start + 2 * int(np.prod(shape))
    header[name] = {
      "dtype": "BF16",
      "shape": shape,
      "data_offsets": [start, stop],
    }
    start = stop
  text = json.dumps(header).encode()
  with path.open("wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    end = file.tell() + start
    if random:
      block = np.random.default_rng(0).bytes(_BLOCK)
      while file.tell() < end:
        file.write(block[: end - file.tell()])
    file.truncate(end)
  path.with_name("config.json").write_text(json.dumps({"num_heads": 40}))
  return start


def measure(
  job: str, source: pathlib.Path, out: pathlib.Path, dtype: str | None = None
) -> dict:
  """Runs one conversion in a process of its own."""
  command = [sys.executable, __file__, "--job", job, str(source), str(out)]
  if dtype:
    command += ["--dtype", dtype]
  done = subprocess.run(command, check=True, capture_output=True, text=True)
  return json.loads(done.stdout.splitlines()[-1])


def run(job: str, source: str, out: str, dtype: str | None) -> None:
  """What the process does; prints its peak and its time."""
  start = time.monotonic()
  if job == "convert":
    options = convert.Options(dtype=dtype, progress=False)
    convert.convert(source, out, options)
  else:
    revert.revert(source, out)
  seconds = time.monotonic() - start
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  print(json.dumps({"peak_gib": peak / 2**30, "seconds": seconds}))


def main() -> None:
  """Parses arguments and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--layers", default="2,4")
  parser.add_argument("--random", action="store_true")
  parser.add_argument("--only-there", action="store_true")
  parser.add_argument("--dtype", help="of what is written; the file's own")
  parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.job:
    run(*arguments.job, arguments.dtype)
    return
  for layers in map(int, arguments.layers.split(",")):
    with tempfile.TemporaryDirectory() as folder:
      root = pathlib.Path(folder)
      (root / "in").mkdir()
      source = root / "in" / "diffusion_pytorch_model.safetensors"
      size = make(source, layers, random=arguments.random)
      line = {"layers": layers, "file_gib": size / 2**30}
      there = root / "out"
      line["convert"] = measure("convert", source, there, arguments.dtype)
      if not arguments.only_there:
        part = root / "out" / "vism_transformer"
        line["reverse"] = measure("reverse", part, root / "back")
      print(json.dumps(line), flush=True)


if __name__ == "__main__":
  main()
