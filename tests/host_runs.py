"""Runs of main.py in several processes that find each other on loopback."""

import json
import os
import pathlib
import socket
import subprocess
import sys

from tests import quick_compilation

ROOT = pathlib.Path(__file__).parents[1]


def free_port() -> int:
  """A port that nothing listens at now."""
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


def start(
  arguments: list[str],
  processes: int = 1,
  devices: int = 1,
  script: tuple[str, ...] = (str(ROOT / "main.py"),),
) -> list[subprocess.Popen]:
  """Starts the processes of one run; each has so many virtual devices."""
  flag = f"--xla_force_host_platform_device_count={devices}"
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{quick_compilation.flags()} {flag}",
    "PYTHONPATH": str(ROOT),
  }
  port, found = free_port(), []
  for number in range(processes):
    joining = []
    if processes > 1:
      joining = [
        f"--coordinator=127.0.0.1:{port}",
        f"--process={number}",
        f"--processes={processes}",
      ]
    found.append(
      subprocess.Popen(
        [sys.executable, *script, *arguments, *joining],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
      )
    )
  return found


def wait(processes: list[subprocess.Popen], seconds: float) -> list[str]:
  """What the processes of a run said, once all have ended."""
  try:
    return [p.communicate(timeout=seconds)[0] for p in processes]
  finally:
    for process in processes:
      process.kill()


def run(arguments: list[str], **options: int) -> list[str]:
  """Runs to the end; fails with the output unless all succeed."""
  processes = start(arguments, **options)
  found = wait(processes, 1500)
  for process, text in zip(processes, found):
    assert process.returncode == 0, text[-6000:]
  return found


def lines(workdir: pathlib.Path, name: str = "metrics") -> list[dict]:
  """What a run wrote for each step, or each evaluation."""
  text = (workdir / f"{name}.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]
