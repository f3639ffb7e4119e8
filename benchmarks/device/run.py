"""Runs the parts one after the other, each in a process with a time limit."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

# Part -> seconds that it may take; together at most nine minutes.
PARTS = {
  "machine": 30,
  "correctness": 90,
  "attention": 90,
  "norm_rotary": 40,
  "sampling_step": 90,
  "train_step": 80,
  "decoding": 60,
  "points": 30,
}
_RESULTS = pathlib.Path("benchmarks/results/device")


def run_part(part: str, limit: float, flags: Sequence[str]) -> list[dict]:
  """The lines that a part printed, and one more where it went wrong."""
  command = [sys.executable, "-m", f"benchmarks.device.{part}", *flags]
  started = time.monotonic()
  problem = None
  try:
    done = subprocess.run(
      command, capture_output=True, text=True, timeout=limit, check=False
    )
    output, errors = done.stdout, done.stderr
    if done.returncode:
      said = errors.strip().splitlines() or ["no message"]
      problem = f"exit status {done.returncode}: {said[-1][:300]}"
  except subprocess.TimeoutExpired as error:
    output = _text(error.stdout)
    problem = f"stopped after {limit:.0f} s"
  lines = [
    {"part": part, **json.loads(line)}
    for line in output.splitlines()
    if line.startswith("{")
  ]
  if problem:
    lines.append({"part": part, "failed": problem})
  seconds = round(time.monotonic() - started, 1)
  return [*lines, {"part": part, "wall_seconds": seconds}]


def _text(output: bytes | str | None) -> str:
  return output.decode() if isinstance(output, bytes) else output or ""


def table(lines: Sequence[dict]) -> str:
  """The lines as Markdown, a section for each part."""
  text = ["# One GPU", "", "Made by `bash benchmarks/device/run.sh`.", ""]
  for part in dict.fromkeys(line["part"] for line in lines):
    rows = [line for line in lines if line["part"] == part]
    text += [f"## {part}", ""]
    columns = [
      name
      for name in dict.fromkeys(name for row in rows for name in row)
      if name not in ("part", "wall_seconds")
    ]
    filled = [row for row in rows if set(row) - {"part", "wall_seconds"}]
    if filled:
      text.append(f"| {' | '.join(columns)} |")
      text.append(f"|{'---|' * len(columns)}")
      for row in filled:
        cells = (str(row.get(name, "")) for name in columns)
        text.append(f"| {' | '.join(c.replace('|', '/') for c in cells)} |")
      text.append("")
    seconds = sum(row.get("wall_seconds", 0) for row in rows)
    text += [f"{seconds:.0f} s, compilation included.", ""]
  return "\n".join(text)


def main(arguments: Sequence[str]) -> int:
  """Runs the parts; the status is 1 if one went wrong."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--out", type=pathlib.Path, default=_RESULTS)
  parser.add_argument("--parts", default=",".join(PARTS))
  parser.add_argument(
    "--reduced", action="store_true", help="small sizes, for a CPU"
  )
  flags = parser.parse_args(arguments)
  chosen = flags.parts.split(",")
  unknown = sorted(set(chosen) - set(PARTS))
  if unknown:
    parser.error(f"--parts: unknown {unknown[0]}; choose of {','.join(PARTS)}")
  flags.out.mkdir(parents=True, exist_ok=True)
  lines = []
  for part in chosen:
    extra = ["--reduced"] if flags.reduced else []
    found = run_part(part, PARTS[part], extra)
    lines += found
    for line in found:
      print(json.dumps(line), flush=True)
    # Written after every part: what is known survives whatever comes next.
    text = "".join(json.dumps(line) + "\n" for line in lines)
    _write(flags.out / "results.jsonl", text)
    _write(flags.out / "results.md", table(lines))
  return int(any("failed" in line for line in lines))


def _write(path: pathlib.Path, text: str) -> None:
  partial = path.with_suffix(".partial")
  partial.write_text(text)
  os.replace(partial, path)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
