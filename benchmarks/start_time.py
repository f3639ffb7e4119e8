"""Seconds from `more4d generate` to the first sampling step, cold and warm.

  python -m benchmarks.start_time --checkpoint BUNDLE [--image PICTURE]

The same command runs twice with an empty folder for compiled programs; the
second run finds what the first one compiled. One line of JSON for each, with
the seconds on the clock from the start of the process to the first step and to
its end, and its seconds of processor time up to both (Linux only). Where other
work shares the processors the latter tell more.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL.Image

from more4d_jax.cli import compilation_cache, progress

_LAST = "results in"  # What the command says at its end.


def first_step(command: list[str], cache: pathlib.Path) -> dict[str, float]:
  """Runs a command to its end.

  Args:
    command: that says when its first step is done.
    cache: folder for compiled programs.
  """
  start, found = time.monotonic(), {}
  process = subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, compilation_cache.VARIABLE: str(cache)},
  )
  for line in process.stdout:
    if not found and progress.FIRST_STEP in line:
      found["first_step"] = time.monotonic() - start
      found["first_step_processor"] = processor_seconds(process.pid)
    elif _LAST in line:
      found["all_processor"] = processor_seconds(process.pid)
  if process.wait() or "all_processor" not in found:
    raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
  found["all"] = time.monotonic() - start
  return {name: round(seconds, 2) for name, seconds in found.items()}


def processor_seconds(process: int) -> float:
  """Processor time that a running process has taken so far."""
  text = pathlib.Path(f"/proc/{process}/stat").read_text()
  fields = text.rpartition(")")[2].split()  # Its name may hold spaces.
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
