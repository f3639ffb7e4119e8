"""Plans of large trainings and of generation, for devices that are not there.

  PYTHONPATH=. python benchmarks/plan_tables.py [--only WORDS]
  PYTHONPATH=. python benchmarks/plan_tables.py --tables

The first compiles each row by itself with `more4d plan`, in a process of its
own and one after the other, and adds a JSON line to
`benchmarks/results/plan.jsonl`; rows that are there are left out, so that the
same command continues. The second prints the lines as Markdown. Compiling
needs `make test-aot`'s environment and no accelerator.
"""

import argparse
import dataclasses
import json
import pathlib
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LINES = pathlib.Path(__file__).parent / "results" / "plan.jsonl"
_GIB = 2**30
_STAGES = (
  "STraG step",
  "ViSM step",
  "STraG text context",
  "VideoVAE latents",
  "VideoVAE decoded",
  "MotionVAE decoded",
)
_BESIDE = ("DepthNetwork metric depth", "renderings")


@dataclasses.dataclass(frozen=True)
class Row:
  """One program on one kind of devices.

  Attributes:
    table: that it stands in.
    what: it is.
    arguments: of `more4d plan`.
  """

  table: str
  what: str
  arguments: str


def _trainings() -> Iterator[Row]:
  lora = "--set model.lora_rank=128"
  for what, config, devices, rest in (
    ("STraG 14b", "strag.py:size=14b", "v5p-64", "--mesh fsdp=16,tensor=4"),
    ("ViSM 14b, LoRA", "vism.py:size=14b", "h200-1", "--set batch_size=1"),
    ("ViSM 14b, LoRA", "vism.py:size=14b", "h100-8", "--set batch_size=8"),
    ("STraG 14b, LoRA", "strag.py:size=14b", "h200-1", f"{lora} batch_size=1"),
    ("STraG 14b, LoRA", "strag.py:size=14b", "h100-8", f"{lora} batch_size=8"),
    ("STraG 1p3b", "strag.py:size=1p3b", "h200-1", "--set batch_size=1"),
    ("STraG 1p3b", "strag.py:size=1p3b", "v5e-16", "--set batch_size=16"),
    ("motion autoencoder", "motion_vae.py:size=14b", "v5e-16", ""),
    ("STraG 14b", "strag.py:size=14b", "v6e-64", "--mesh fsdp=32,tensor=2"),
  ):
    arguments = f"--config configs/{config} --devices {devices} {rest}"
    yield Row("training", what, arguments.strip())


def _generation() -> Iterator[Row]:
  def row(devices: str, stage: str, dtype: str, rest: str = "") -> Row:
    arguments = (
      f"--size 14b --devices {devices} --stage '{stage}' --dtype {dtype} {rest}"
    )
    return Row("generation", f"{stage}, {dtype}", arguments.strip())

  for dtype in ("bfloat16", "int8"):
    for stage in _STAGES[:3]:
      yield row("h100-1", stage, dtype)
  for dtype in ("bfloat16", "int8"):
    yield row("h100-1", _STAGES[0], dtype, "--offload")
  for stage in _STAGES[3:]:
    yield row("h100-1", stage, "bfloat16")
  for devices in ("v6e-8", "v5e-8"):
    for stage in _STAGES:
      yield row(devices, stage, "bfloat16", "--mesh auto")
  for stage in _STAGES[:2]:
    yield row("h200-1", stage, "bfloat16")
  for devices in ("h100-1", "v5e-8"):
    for stage in _BESIDE:
      yield row(devices, stage, "bfloat16")


ROWS = (*_trainings(), *_generation())


def read(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Lines by the arguments that they are of."""
  if not path.exists():
    return {}
  lines = map(json.loads, path.read_text().splitlines())
  return {line["arguments"]: line for line in lines}


def measure(row: Row, limit: int) -> dict[str, Any]:
  """Compiles a row; what does not end well is a line with an `error`.

  Args:
    row: to compile.
    limit: of processor time, in seconds.
  """
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder, "plan.json")
    command = [sys.executable, "-m", "more4d_jax.cli.main", "plan"]
    done = subprocess.run(
      [*command, *shlex.split(row.arguments), "--out", str(out)],
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
      check=False,
      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, -1)),
    )
    found = json.loads(out.read_text())["plans"] if out.exists() else []
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  seconds = after.ru_utime + after.ru_stime
  seconds -= before.ru_utime + before.ru_stime
  line = {"arguments": row.arguments, "processor_seconds": round(seconds)}
  if done.returncode:
    words = (done.stderr.strip().splitlines() or [""])[-1][:300]
    return {**line, "error": f"ended with {done.returncode}: {words}"}
  (plan,) = found[:1]  # ViSM's "VideoVAE latents" are those of STraG.
  return line | plan


def run(only: str, limit: int, path: pathlib.Path = LINES) -> None:
  """Measures what is missing."""
  for row in ROWS:
    if row.arguments in read(path) or only not in row.arguments:
      continue
    line = json.dumps(measure(row, limit))
    print(line, flush=True)
    with path.open("a") as file:
      file.write(f"{line}\n")


def tables(lines: Mapping[str, Mapping[str, Any]]) -> str:
  """Both tables as Markdown, and what is missing in them."""
  parts = []
  for name in dict.fromkeys(row.table for row in ROWS):
    head = (
      f"| {name} | devices | parameters and inputs | temporaries | program | "
      "together | of | | s, at 40 % of the peak | received | compiled in, s |"
    )
    body = [
      _cells(row, lines[row.arguments])
      for row in ROWS
      if row.table == name and row.arguments in lines
    ]
    parts.append("\n".join([head, "|---|---|" + 9 * "---:|", *body]))
  missing = [row for row in ROWS if row.arguments not in lines]
  if missing:
    names = [f"{row.what} ({_devices(row)})" for row in missing]
    parts.append(f"Not compiled yet: {'; '.join(names)}.")
  return "\n\n".join(parts)


def _cells(row: Row, line: Mapping[str, Any]) -> str:
  seconds = str(line["processor_seconds"])
  if "error" in line:
    cells: Sequence[str] = [line["error"], *[""] * 7, seconds]
  elif line["refused"]:
    wanted = _gib(line["refused"])
    memory = _gib(line["memory"])
    held = _gib(sum(line["held"].values()))
    cells = [held, "", "", wanted, memory, "does not fit", "", "", seconds]
  else:
    cells = [
      _gib(sum(line["held"].values()) + line["padding"]),
      _gib(line["temporaries"] + line["results"]),
      _gib(line["code"]),
      _gib(line["together"]),
      _gib(line["memory"]),
      "fits" if line["fits"] else "does not fit",
      f"{line['compute_seconds']:.2g}",
      _received(line),
      seconds,
    ]
  return f"| {row.what} | {_devices(row)} | {' | '.join(cells)} |"


def _devices(row: Row) -> str:
  """Devices of a row, and what sets its program apart."""
  words = shlex.split(row.arguments)
  devices = words[words.index("--devices") + 1]
  if "--mesh" in words:
    devices += f", {words[words.index('--mesh') + 1]}"
  return f"{devices}, offload" if "--offload" in words else devices


def _received(line: Mapping[str, Any]) -> str:
  sizes = [one["bytes"] for one in line["traffic"].values()]
  return _gib(sum(sizes)) if sizes else ""


def _gib(size: int) -> str:
  return f"{size / _GIB:.2f}"


def main(arguments: Sequence[str]) -> None:
  """Compiles rows, or prints them."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--only", default="", help="words of a row's arguments")
  parser.add_argument("--limit", type=int, default=900, help="CPU s of a row")
  parser.add_argument("--tables", action="store_true", help="print Markdown")
  flags = parser.parse_args(arguments)
  if flags.tables:
    print(tables(read(LINES)))
  else:
    run(flags.only, flags.limit)


if __name__ == "__main__":
  main(sys.argv[1:])
