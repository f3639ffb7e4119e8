"""What the benchmarks of all kernels share: timing and the command line."""

import argparse
import dataclasses
import fnmatch
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax


@runtime_checkable
class Case(Protocol):
  """A shape of the real models that has a small form."""

  def reduced(self) -> "Case":
    """Returns the case in a few tiles."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """What a kernel's benchmark measures.

  Attributes:
    description: of its command line.
    cases: by name.
    default: glob of the cases that run unless told.
    implementations: that may be named.
    measure: case, implementation, dtype, repetitions -> a line per pass.
  """

  description: str
  cases: Mapping[str, Case]
  default: str
  implementations: tuple[str, ...]
  measure: Callable[[Any, str, str, int], Iterable[Mapping[str, Any]]]


def seconds(run: Callable[[], Any], repetitions: int) -> float:
  """Median time of a call, after one that is not counted."""
  jax.block_until_ready(run())
  times = []
  for _ in range(repetitions):
    start = time.perf_counter()
    jax.block_until_ready(run())
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def rounded(number: float) -> float:
  """Four digits of a number."""
  return float(f"{number:.4g}")


def passes(run: Callable) -> dict[str, Callable]:
  """Forward, and forward and backward, of inputs and a last cotangent."""

  def forward(*arrays):
    return run(*arrays[:-1])

  def both(*arrays):
    *inputs, d_out = arrays
    out, vjp = jax.vjp(run, *inputs)
    return out, vjp(d_out)

  return {"forward": forward, "forward and backward": both}


def measure(
  head: Mapping[str, Any],
  run: Callable,
  arrays: tuple[jax.Array, ...],
  repetitions: int,
  figures: Callable[[str, float], Mapping[str, Any]],
) -> list[dict[str, Any]]:
  """Returns one line per pass; a line with "error" where it cannot run.

  Args:
    head: what every line starts with.
    run: of the inputs.
    arrays: inputs, then a cotangent of the output.
    repetitions: calls that are timed.
    figures: of a pass and its seconds.
  """
  lines = []
  for name, function in passes(run).items():
    line = {**head, "device": jax.devices()[0].device_kind, "pass": name}
    lines.append(line)
    try:
      compiled = jax.jit(function).lower(*arrays).compile()
      taken = seconds(lambda call=compiled: call(*arrays), repetitions)
    except (ValueError, NotImplementedError, RuntimeError) as error:
      line["error"] = str(error).splitlines()[0]
      continue
    line["milliseconds"] = rounded(taken * 1e3)
    line |= figures(name, taken)
    memory = compiled.memory_analysis()
    line["temporary_mib"] = rounded(memory.temp_size_in_bytes / 2**20)
  return lines


def _parse(arguments: list[str], benchmark: Benchmark) -> argparse.Namespace:
  cases, implementations = benchmark.cases, benchmark.implementations
  parser = argparse.ArgumentParser(
    description=benchmark.description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--cases",
    default=benchmark.default,
    help="glob over the names of cases.py; default: %(default)s",
  )
  parser.add_argument(
    "--implementations",
    default=",".join(implementations),
    help="comma-separated; default: %(default)s",
  )
  parser.add_argument(
    "--dtype",
    default="bfloat16",
    choices=("bfloat16", "float16", "float32"),
  )
  parser.add_argument("--repetitions", type=int, default=10)
  parser.add_argument("--reduced", action="store_true")
  flags = parser.parse_args(arguments)
  flags.cases = fnmatch.filter(cases, flags.cases)
  if not flags.cases:
    parser.error(f"--cases matches none of {', '.join(cases)}")
  flags.implementations = flags.implementations.split(",")
  unknown = set(flags.implementations) - set(implementations)
  if unknown:
    parser.error(f"--implementations: unknown {', '.join(sorted(unknown))}")
  if flags.repetitions < 1:
    parser.error("--repetitions: expected 1 or more")
  return flags


def main(arguments: list[str], benchmark: Benchmark) -> None:
  """Prints the lines of every case and implementation that is asked for."""
  flags = _parse(arguments, benchmark)
  # Kernels and tiles are chosen by the devices of the mesh.
  mesh = jax.make_mesh(
    (1,),
    ("data",),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:1],
  )
  for name in flags.cases:
    case = benchmark.cases[name]
    if flags.reduced:
      case = case.reduced()
    for chosen in flags.implementations:
      with jax.set_mesh(mesh):
        lines = benchmark.measure(case, chosen, flags.dtype, flags.repetitions)
      for line in lines:
        print(json.dumps(line), flush=True)
