"""Programs as plans see them, and what their compilers say of them."""

import contextlib
import dataclasses
import math
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from more4d_jax import partitioning
from more4d_jax.planning import collectives, operations

# What XLA says where a layout changes and every device gets all of a tensor.
_COPIED = "[SPMD] Involuntary full rematerialization"
# "Used 27.54G of 15.75G hbm", "temporaries (16.00G) exceeds available HBM".
_TOO_LARGE = re.compile(r"Used ([\d.]+)([KMG]) of|\(([\d.]+)([KMG])\) exceeds")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class Program:
  """A program that can be compiled from shapes alone.

  Attributes:
    name: for people.
    mesh: where it runs.
    trace: traces it.
    held: what its arguments are -> tree of shapes with shardings.
  """

  name: str
  mesh: Mesh
  trace: Callable[[], jax.stages.Traced]
  held: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Figures:
  """What one run of a program needs. Bytes are those of one device.

  Attributes:
    held: what arguments are -> bytes.
    waiting: bytes of arguments in the host's memory, not among those.
    operations: of all devices together, see `operations.count`.
    seconds: that compiling took.
    host_bytes: largest resident memory of this process so far.
    padding: bytes that the device's layouts add to the arguments.
    temporaries: bytes.
    results: bytes that do not take an argument's place.
    code: bytes of the program itself.
    peak: the most bytes in use at once, where the compiler says so, else 0.
    traffic: kind of collective -> what a device receives.
    copied: tensors that every device gets whole because a layout changes.
    refused: bytes that a compiler wanted in vain, whose other figures are 0
      then; 0 if it compiled.
  """

  held: Mapping[str, int]
  operations: float
  seconds: float
  host_bytes: int
  waiting: int = 0
  padding: int = 0
  temporaries: int = 0
  results: int = 0
  code: int = 0
  peak: int = 0
  traffic: Mapping[str, collectives.Traffic] = dataclasses.field(
    default_factory=dict
  )
  copied: int = 0
  refused: int = 0

  @property
  def together(self) -> int:
    """Bytes that a device must have."""
    parts = (self.padding, self.temporaries, self.results, self.code)
    return self.refused or sum(self.held.values()) + sum(parts)


def held_bytes(tree: Any, *, on_host: bool = False) -> int:
  """Bytes that one device holds of shapes with shardings.

  Args:
    tree: the shapes.
    on_host: count what lies in the host's memory instead.
  """
  return sum(
    math.prod(leaf.sharding.shard_shape(tuple(leaf.shape))) * _width(leaf)
    for leaf in jax.tree.leaves(tree)
    if (leaf.sharding.memory_kind == partitioning.HOST_MEMORY) == on_host
  )


def _width(leaf: Any) -> int:
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return 8
  return jax.dtypes.canonicalize_dtype(leaf.dtype).itemsize


def compile_program(
  program: Program, options: Mapping[str, Any] | None = None
) -> Figures:
  """Compiles a program and reads its figures.

  Args:
    program: what to compile.
    options: of the compiler.
  """
  traced = program.trace()
  held = {name: held_bytes(tree) for name, tree in program.held.items()}
  waiting = sum(held_bytes(x, on_host=True) for x in program.held.values())
  products = operations.count(traced.jaxpr)
  begin = time.perf_counter()
  try:
    with _messages() as said:
      compiled = traced.lower().compile(compiler_options=options)
  except jax.errors.JaxRuntimeError as error:
    refused = _refused_bytes(str(error))
    if not refused:
      raise
    return Figures(
      held, products, waiting=waiting, refused=refused, **_costs(begin)
    )
  stats = compiled.memory_analysis()
  on_cpu = program.mesh.devices.flat[0].platform == "cpu"
  return Figures(
    held=held,
    operations=products,
    waiting=waiting,
    padding=_padding(stats, waiting + sum(held.values())),
    temporaries=stats.temp_size_in_bytes,
    results=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    code=stats.generated_code_size_in_bytes,
    # A CPU's says nothing of temporaries, and the host's memory is counted too.
    peak=0 if on_cpu or waiting else getattr(stats, "peak_memory_in_bytes", 0),
    traffic=collectives.read(compiled.as_text()),
    copied=said().count(_COPIED),
    **_costs(begin),
  )


def _padding(stats: Any, held: int) -> int:
  """Bytes that layouts add to arguments; those that are not used are none.

  A CPU counts arguments in the host's memory as its own.
  """
  found = stats.argument_size_in_bytes + stats.host_argument_size_in_bytes
  return max(found - held, 0)


def _costs(begin: float) -> dict[str, Any]:
  """What compiling took of this machine."""
  resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  return {"seconds": time.perf_counter() - begin, "host_bytes": resident}


def _refused_bytes(message: str) -> int:
  """Bytes that a compiler wanted and did not get; 0 of other messages."""
  match = _TOO_LARGE.search(message)
  if "RESOURCE_EXHAUSTED" not in message or not match:
    return 0
  number, unit = match[1] or match[3], match[2] or match[4]
  return int(float(number) * _UNITS[unit])


@contextlib.contextmanager
def _messages() -> Iterator[Callable[[], str]]:
  """Takes what compilers write to standard error, and gives it afterwards."""
  sys.stderr.flush()
  with tempfile.TemporaryFile() as file:
    kept = os.dup(2)
    text = ""
    try:
      os.dup2(file.fileno(), 2)
      yield lambda: text
    finally:
      os.dup2(kept, 2)
      os.close(kept)
      file.seek(0)
      text = file.read().decode(errors="replace")
