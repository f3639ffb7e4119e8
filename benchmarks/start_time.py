"""Seconds from `more4d generate` to the first sampling step, cold and warm.

  python -m benchmarks.start_time --checkpoint BUNDLE [--image PICTURE]

The same command runs twice with an empty folder for compiled programs; the
second run finds what the first one compiled. One line of JSON for each, with
the seconds that passed on the clock since the process began and those of its
processor time up to its end.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL.Image

from more4d_jax.cli import compilation_cache, progress


def first_step(command: list[str], cache: pathlib.Path) -> dict[str, float]:
  """Runs a command to its end.

  Args:
    command: that says when its first step is done.
    cache: folder for compiled programs.
  """
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  start, stepped = time.monotonic(), None
  process = subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, compilation_cache.VARIABLE: str(cache)},
  )
  for line in process.stdout:
    if stepped is None and progress.FIRST_STEP in line:
      stepped = time.monotonic() - start
  if process.wait() or stepped is None:
    raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
  return {
    "first_step": round(stepped, 2),
    "all": round(time.monotonic() - start, 2),
    "processor": round(used, 2),
  }


def main() -> None:
  """Prints both runs."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--checkpoint", required=True)
  parser.add_argument("--image", help="of noise when left out")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    image = options.image
    if image is None:
      generator = np.random.default_rng(0)
      pixels = generator.integers(0, 256, (240, 320, 3), np.uint8)
      image = str(folder / "noise.png")
      PIL.Image.fromarray(pixels).save(image)
    for run in ("cold", "warm"):
      command = [
        sys.executable, "-u", "-m", "more4d_jax.cli.main", "generate",
        "--image", image, "--prompt", "a ball rolls to the left",
        "--checkpoint", options.checkpoint, "--out", str(folder / run),
        "--camera", "static", "--steps", "4",
      ]  # fmt: skip
      seconds = first_step(command, folder / "programs")
      print(json.dumps({"run": run, **seconds}), flush=True)


if __name__ == "__main__":
  main()
